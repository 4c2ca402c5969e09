// What happens to the KV cache between passes: slot tables follow the books of the host, accepted rows join the committed slots, evicted tokens' slots
// are filled by their successors, shared pages are copied before they are written.
//
// The host decides and sends a few numbers; keys and values never leave the device.
//
// Reference:
//   kv_tables    tables[index[i]] = value[i]
//   kv_commit    for i in order: slot committed + path[i] → slot committed + i, in every head of the sequence; then committed += length
//   kv_commands  each list in order; lists do not touch one another
#include "cache.cuh"

// Copies a key, a value and all marks of a slot to another slot. All lanes of a warp call it.
// slots: of a page; what a page holds beyond keys and values are marks of four bytes per slot.
DEVICE void move_slot(u8* from_page, int from, u8* to_page, int to, int slot_bytes, int slots, long long page_bytes) {
    int lane = thread_x() & 31;
    for (int half = 0; half < 2; half++) {
        const words2* source = (const words2*)(from_page + (long long)half * slots * slot_bytes + (long long)from * slot_bytes);
        words2* target = (words2*)(to_page + (long long)half * slots * slot_bytes + (long long)to * slot_bytes);
        for (int i = lane; i < slot_bytes / 8; i += 32) target[i] = source[i];
    }

    const int* marks = (const int*)(from_page + 2LL * slots * slot_bytes);
    int* to_marks = (int*)(to_page + 2LL * slots * slot_bytes);
    if (lane < ((int)page_bytes / slots - 2 * slot_bytes) / 4) to_marks[lane * slots + to] = marks[lane * slots + from];
    warp_barrier(); // the next move may read what this one wrote
}

// updates: [count, 2] index, value. Grid: count / threads.
extern "C" __global__ void kv_tables(const int* updates, int count, int* tables) {
    int i = block_x() * block_size_x() + thread_x();
    if (i < count) tables[updates[2 * i]] = updates[2 * i + 1];
}

// count: number of commits; starts: [count] where each record begins; records: first table of the sequence, length, offsets in the segment (ascending). slot_bytes: of one key.
// Grid: (heads of a sequence: layers · KV heads, count or more); threads: 32.
extern "C" __global__ __launch_bounds__(32) void kv_commit(
    const int* count, const int* starts, const int* records, int* tables, int table_stride, int page_shift, int slot_bytes, long long page_bytes, u8* pool) {
    if (block_y() >= count[0]) return;
    const int* record = records + starts[block_y()];
    int* table = tables + (long long)(record[0] + block_x()) * table_stride;
    int committed = table[TABLE_COMMITTED], length = record[1], in_page = (1 << page_shift) - 1;
    for (int i = 0; i < length; i++) {
        int from = committed + record[2 + i], to = committed + i;
        if (from == to) continue;
        move_slot(
            pool + table[TABLE_PAGES + (from >> page_shift)] * page_bytes, from & in_page, pool + table[TABLE_PAGES + (to >> page_shift)] * page_bytes,
            to & in_page, slot_bytes, 1 << page_shift, page_bytes);
    }

    warp_barrier(); // all lanes have read the number
    if (thread_x() == 0) table[TABLE_COMMITTED] = committed + length;
}

constexpr int MOVE_SLOT = 0, COPY_PAGE = 1; // 2: set an expire

// lists: [count + 1] where each list begins; commands: [lists[count], 3] kind, from, to: slots are page · slots per page + slot in page, pages are page
// numbers; of an expire, to is the slot and from the position. Grid: lists; threads: 32.
extern "C" __global__ __launch_bounds__(32) void kv_commands(
    const int* lists, const int* commands, int page_shift, int slot_bytes, long long page_bytes, u8* pool) {
    int in_page = (1 << page_shift) - 1, slots = 1 << page_shift;
    for (int i = lists[block_x()]; i < lists[block_x() + 1]; i++) {
        int kind = commands[3 * i], from = commands[3 * i + 1], to = commands[3 * i + 2];
        if (kind == MOVE_SLOT) {
            move_slot(
                pool + (from >> page_shift) * page_bytes, from & in_page, pool + (to >> page_shift) * page_bytes, to & in_page, slot_bytes, slots,
                page_bytes);
        } else if (kind == COPY_PAGE) {
            for (int b = thread_x(); b < page_bytes / 8; b += 32)
                ((words2*)(pool + to * page_bytes))[b] = ((const words2*)(pool + from * page_bytes))[b];
            warp_barrier();
        } else {
            int* expires = (int*)(pool + (to >> page_shift) * page_bytes + 2LL * slots * slot_bytes) + slots;
            if (thread_x() == 0) expires[to & in_page] = from;
            warp_barrier();
        }
    }
}
