// Decoding of llama.cpp at a depth, without reading a prompt of that length: a sequence of 256 tokens is computed once, its keys and values are
// restored into as many other sequences as fill the depth, and the first sequence takes all their cells over. What a token costs depends on the
// number of cells only. Compiled and run by compare-llamacpp.sh against the libraries of a build.
//   llama-depth MODEL DEPTH TOKENS REPEATS THREADS      one line of JSON per repeat on stdout: {"seconds": …}
#include "llama.h"
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

static bool decode(llama_context * ctx, int first, int count) {
    llama_batch batch = llama_batch_init(count, 0, 1);
    for (int i = 0; i < count; i++) {
        batch.token[i] = 100 + (first + i) * 37 % 20000;
        batch.pos[i] = first + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i == count - 1;
    }
    batch.n_tokens = count;
    bool ok = llama_decode(ctx, batch) == 0;
    llama_synchronize(ctx);
    llama_batch_free(batch);
    return ok;
}

int main(int argc, char ** argv) {
    if (argc < 6) { fprintf(stderr, "usage: llama-depth MODEL DEPTH TOKENS REPEATS THREADS\n"); return 2; }
    const int depth = atoi(argv[2]), tokens = atoi(argv[3]), repeats = atoi(argv[4]), threads = atoi(argv[5]), part = 256, parts = depth / part;
    if (depth % part != 0 || parts < 1 || parts > 256) { fprintf(stderr, "the depth must be a multiple of %d, at most %d\n", part, 256 * part); return 2; }
    llama_log_set([](ggml_log_level level, const char * text, void *) { if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr); }, nullptr);
    llama_backend_init();
    llama_model_params model_params = llama_model_default_params();
    model_params.load_mode = LLAMA_LOAD_MODE_NONE; // anonymous memory, as compare-llamacpp.sh asks of llama-bench
    llama_model * model = llama_model_load_from_file(argv[1], model_params);
    if (!model) { fprintf(stderr, "cannot load %s\n", argv[1]); return 1; }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = depth + 512;
    params.n_batch = params.n_ubatch = 512;
    params.n_seq_max = parts;
    params.kv_unified = true;
    params.n_threads = params.n_threads_batch = threads;
    llama_context * ctx = llama_init_from_model(model, params);
    if (!ctx || !decode(ctx, 0, part)) { fprintf(stderr, "cannot read the first %d tokens\n", part); return 1; }
    std::vector<uint8_t> state(llama_state_seq_get_size(ctx, 0));
    size_t bytes = llama_state_seq_get_data(ctx, state.data(), state.size(), 0);
    llama_memory_t memory = llama_get_memory(ctx);
    for (int i = 1; i < parts; i++) {
        if (llama_state_seq_set_data(ctx, state.data(), bytes, i) == 0) { fprintf(stderr, "cannot restore part %d of %d\n", i, parts); return 1; }
        llama_memory_seq_cp(memory, i, 0, -1, -1);
    }
    for (int r = 0; r < repeats; r++) {
        llama_memory_seq_rm(memory, 0, part, -1);
        if (!decode(ctx, part, 1)) return 1; // not timed
        auto start = std::chrono::steady_clock::now();
        for (int t = 0; t < tokens; t++) {
            if (!decode(ctx, part + 1 + t, 1)) { fprintf(stderr, "decoding failed\n"); return 1; }
        }
        double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        printf("{\"seconds\": %.6f}\n", seconds);
        fflush(stdout);
    }
    llama_free(ctx);
    llama_model_free(model);
    return 0;
}
