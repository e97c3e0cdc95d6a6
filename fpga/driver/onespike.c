/* SPDX-License-Identifier: Apache-2.0 */
#include "onespike.h"

#include <stddef.h>

#define FAULTS (ONESPIKE_EVENTS_SHORT | ONESPIKE_EVENTS_LONG | ONESPIKE_EVENTS_REFUSED | ONESPIKE_EVENTS_MEMORY | \
                ONESPIKE_EVENTS_FAULT)

static uint32_t memory_read(void *context, uint32_t offset) {
    return ((volatile uint32_t *)context)[offset / 4];
}

static void memory_write(void *context, uint32_t offset, uint32_t value) {
    ((volatile uint32_t *)context)[offset / 4] = value;
}

static uint32_t get(const struct onespike *core, uint32_t offset) {
    return core->read(core->context, offset);
}

static void put(const struct onespike *core, uint32_t offset, uint32_t value) {
    core->write(core->context, offset, value);
}

static uint32_t faults(const struct onespike *core) {
    return get(core, ONESPIKE_EVENTS) & (FAULTS);
}

/* Wait until all bits of the status are set. */
static int wait_for(const struct onespike *core, uint32_t bits) {
    for (uint32_t look = 0; (get(core, ONESPIKE_STATUS) & bits) != bits; look++) {
        if (get(core, ONESPIKE_EVENTS) & ONESPIKE_EVENTS_FAULT)
            return ONESPIKE_FAULT;
        if (core->patience != 0 && look >= core->patience)
            return ONESPIKE_TIMEOUT;
    }
    return ONESPIKE_OK;
}

/* CRC-32 of one word more, low byte first. */
static uint32_t crc32_step(uint32_t crc, uint32_t word) {
    crc ^= word;
    for (int bit = 0; bit < 32; bit++)
        crc = (crc >> 1) ^ ((crc & 1u) ? 0xEDB88320u : 0u);
    return crc;
}

struct onespike onespike_at(uintptr_t address) {
    struct onespike core = {(void *)address, memory_read, memory_write, NULL, NULL, 0};
    return core;
}

int onespike_open(const struct onespike *core) {
    if (get(core, ONESPIKE_ID) != ONESPIKE_ID_VALUE || get(core, ONESPIKE_VERSION) != ONESPIKE_VERSION_VALUE)
        return ONESPIKE_NO_CORE;
    uint32_t features = get(core, ONESPIKE_FEATURES);
    if ((features & ONESPIKE_FEATURES_LOGIT_WORDS) >> ONESPIKE_FEATURES_LOGIT_WORDS_SHIFT != 1)
        return ONESPIKE_WIDE;
    if ((features & ONESPIKE_FEATURES_STREAMS) && (core->send == NULL || core->receive == NULL))
        return ONESPIKE_STREAM;
    return ONESPIKE_OK;
}

int onespike_weights(const struct onespike *core, uint32_t address) {
    put(core, ONESPIKE_CONTROL, 0);
    put(core, ONESPIKE_WEIGHT_ADDRESS, address);
    return faults(core) ? ONESPIKE_FAULT : ONESPIKE_OK;
}

int onespike_load(const struct onespike *core, const uint32_t *words, uint32_t count, uint32_t beats) {
    put(core, ONESPIKE_CONTROL, 0);
    uint32_t crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < count; i++) {
        put(core, ONESPIKE_LOAD, words[i]);
        crc = crc32_step(crc, words[i]);
    }
    put(core, ONESPIKE_NETWORK, ~crc); /* until then no part of it can run */
    put(core, ONESPIKE_BEATS, beats);
    put(core, ONESPIKE_CONTROL, ONESPIKE_CONTROL_RUN);
    return faults(core) ? ONESPIKE_FAULT : ONESPIKE_OK;
}

static int through_registers(const struct onespike *core, const uint32_t *beats, uint32_t count, uint32_t *words,
                             uint32_t classes) {
    int error = wait_for(core, ONESPIKE_STATUS_ROOM);
    if (error)
        return error;
    for (uint32_t i = 0; i < count; i++)
        put(core, i + 1 == count ? ONESPIKE_IMAGE_LAST : ONESPIKE_IMAGE, beats[i]);
    error = wait_for(core, ONESPIKE_STATUS_RESULT);
    if (error)
        return error;
    for (uint32_t i = 0; i < classes; i++)
        words[i] = get(core, ONESPIKE_LOGIT);
    return ONESPIKE_OK;
}

int onespike_classify(const struct onespike *core, const uint32_t *beats, uint32_t count, int32_t *logits,
                      uint32_t classes) {
    uint32_t *words = (uint32_t *)logits;
    if (core->send != NULL && core->receive != NULL) {
        if (core->send(core->context, beats, count) != (int)count)
            return ONESPIKE_STREAM;
        if (core->receive(core->context, words, classes) != (int)classes)
            return ONESPIKE_STREAM;
    } else {
        int error = through_registers(core, beats, count, words, classes);
        if (error)
            return error;
    }
    if (faults(core)) {
        put(core, ONESPIKE_EVENTS, FAULTS);
        return ONESPIKE_FAULT;
    }
    return (int)get(core, ONESPIKE_CLASS);
}

uint32_t onespike_faults(const struct onespike *core) {
    return get(core, ONESPIKE_FAULTS);
}

uint32_t onespike_counter(const struct onespike *core, uint32_t layer, uint32_t which) {
    uint32_t stride = get(core, ONESPIKE_CONFIG_EXTERNAL_WEIGHTS) ? 8 : 4;
    put(core, ONESPIKE_COUNTER, stride * layer + which);
    return get(core, ONESPIKE_COUNT);
}

void onespike_stop(const struct onespike *core) {
    put(core, ONESPIKE_CONTROL, 0);
}

void onespike_start(const struct onespike *core) {
    put(core, ONESPIKE_CONTROL, ONESPIKE_CONTROL_RUN);
}
