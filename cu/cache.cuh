// The KV cache on the device, as the kernels see it.
//
// pool    pages of page_bytes; a page belongs to one (layer, KV head) and holds 1 << page_shift slots:
//             keys [slots, head_dim], values [slots, head_dim], positions [slots] int, expires [slots] int,
//             and where keys and values are bytes: key scales [slots] f32, value scales [slots] f32
// tables  one row of table_stride ints per (sequence, layer, KV head): { committed slots, first mortal slot, contiguous, 0, page numbers … }
//             Slots below the first mortal one never expire. Contiguous: the committed slots are exactly the last positions, without gaps.
//             The row at index i of its segment keeps its key and value in slot committed + i.
#pragma once
#include "foretoken.cuh"

constexpr int TABLE_COMMITTED = 0, TABLE_FIRST_MORTAL = 1, TABLE_CONTIGUOUS = 2, TABLE_PAGES = 4;
constexpr int SEE_FOR_EVER = 0x7FFFFFFF;

// How keys and values are stored. KV_INT8: x / scale to nearest, scale = largest magnitude / 127 of the key or value.
constexpr int KV_F32 = 0, KV_BF16 = 1, KV_F16 = 2, KV_INT8 = 3;

template <int Kind>
struct Cache {
    static constexpr int Bytes = Kind == KV_F32 ? 4 : Kind == KV_INT8 ? 1 : 2;

    u8* pool;
    const int* table;
    long long page_bytes;
    int page_shift, head_dim;

    DEVICE u8* page(int slot) const { return pool + table[TABLE_PAGES + (slot >> page_shift)] * page_bytes; }
    DEVICE int in_page(int slot) const { return slot & ((1 << page_shift) - 1); }
    DEVICE long long data_bytes() const { return (long long)head_dim * Bytes << page_shift; }
    DEVICE u8* key(int slot) const { return page(slot) + (long long)in_page(slot) * (head_dim * Bytes); }
    DEVICE u8* value(int slot) const { return key(slot) + data_bytes(); }
    DEVICE int* position(int slot) const { return (int*)(page(slot) + 2 * data_bytes()) + in_page(slot); }
    DEVICE int* expire(int slot) const { return position(slot) + (1 << page_shift); }
    DEVICE float* key_scale(int slot) const { return (float*)(expire(slot) + (1 << page_shift)); }
    DEVICE float* value_scale(int slot) const { return key_scale(slot) + (1 << page_shift); }
};

DEVICE const int* table_of(const int* tables, int table_stride, int sequence, int layer, int layers, int kv_head, int kv_heads) {
    return tables + (((long long)sequence * layers + layer) * kv_heads + kv_head) * table_stride;
}
