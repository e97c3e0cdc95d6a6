/* SPDX-License-Identifier: Apache-2.0 */
/* Driver of a OneSpike core for bare metal: no operating system, no allocation, C99.
 *
 *     struct onespike core = onespike_at(0x40000000);
 *     core.send = my_dma_send; core.receive = my_dma_receive;      (AXI4-Stream cores)
 *     onespike_open(&core);
 *     onespike_load(&core, load_words, count, beats);              (load.hex; manifest.json: image.beats)
 *     int best = onespike_classify(&core, image, beats, logits, classes);
 */
#ifndef ONESPIKE_H
#define ONESPIKE_H

#include <stdint.h>

#include "onespike_registers.h"

enum {
    ONESPIKE_OK = 0,
    ONESPIKE_NO_CORE = -1,  /* what answers is not a OneSpike core, or has other registers */
    ONESPIKE_TIMEOUT = -2,  /* no result after `patience` looks */
    ONESPIKE_FAULT = -3,    /* events tell: a frame of a wrong length, a refused access, an error of the memory, a fault */
    ONESPIKE_STREAM = -4,   /* send or receive moved another number of words */
    ONESPIKE_WIDE = -5      /* this core's logits have more than 32 bits */
};

struct onespike {
    void *context; /* handed to the functions below */
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    /* Move one frame and return its words; for cores with streams, else NULL. `receive` waits for the frame's end. */
    int (*send)(void *context, const uint32_t *words, uint32_t count);
    int (*receive)(void *context, uint32_t *words, uint32_t count);
    uint32_t patience; /* looks at the status before giving up; 0: for ever */
};

/* A core whose registers are memory at `address`. */
struct onespike onespike_at(uintptr_t address);

/* Check that a core answers. */
int onespike_open(const struct onespike *core);

/* Only for cores that stream their weights: stop the core; from now on it reads weights.bin at `address`, a multiple of
 * 4096. Call it before onespike_load. */
int onespike_weights(const struct onespike *core, uint32_t address);

/* Stop the core, load a network's words and start it; `beats`: words of one image. */
int onespike_load(const struct onespike *core, const uint32_t *words, uint32_t count, uint32_t beats);

/* Classify one image: the class, or a negative error; `logits` takes `classes` values. The class is the place of the
 * largest logit: of a network with one output it is 0, and the sign of the logit is the answer. The logits of a map come
 * place after place, rows from the top, all channels of each (manifest.json: network.output [channels, height, width],
 * `classes` of them in all); the class is then that of the last place. */
int onespike_classify(const struct onespike *core, const uint32_t *beats, uint32_t count, int32_t *logits,
                      uint32_t classes);

/* What has gone wrong in the engine since it was started, bit by bit as ONESPIKE_FAULTS_.. says; 0 where it does not look
 * (config_parity, config_watchdog). After ONESPIKE_FAULT with ONESPIKE_FAULTS_SPIKES, stop and start the core and send the
 * image again; after any other, load the network again. */
uint32_t onespike_faults(const struct onespike *core);

/* A counter of a layer's last run: 0 cycles, 1 events, 2 empty, 3 waiting, 4 stalled (streamed weights). */
uint32_t onespike_counter(const struct onespike *core, uint32_t layer, uint32_t which);

/* Stop the core, at any time; its memories stay. `onespike_start` goes on with them, unless a load has stopped half-way:
 * then nothing runs (ONESPIKE_NETWORK reads 0) until all of a network has been loaded. */
void onespike_stop(const struct onespike *core);
void onespike_start(const struct onespike *core);

#endif
