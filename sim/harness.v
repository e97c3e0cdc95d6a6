// SPDX-License-Identifier: Apache-2.0
// Test bench around the engine that needs no Python while it runs: it makes the clock, feeds images from memory with
// random gaps, takes the logits with random stalls and logs what it sees. cocotb starts it and checks the logs.
//
// An episode is a network and its images; all run one after the other in one engine, which is reset before the first
// only: each next network is loaded over the one before while `enable` is low.
//
// control.hex: number of episodes, then, from word 16 on, 16 words for each: images, beats per image, load words,
// counter words, stall of the image / logits stream (0..255 of 256), seed, serial (1: the next image waits until the
// counters of this one have been read), cycle limit, cycles before each image that is waited for, for streamed weights
// to arrive; external memory: latency, interval, end in beats, varied, address of the weights; cycles of rest
// before the episode, and from bit 31 on whether the engine is reset then.
// image.hex, load.hex: those of all episodes, one after the other.
// Logs: writes.log (layer address slice data), logits.log (image value best cycle), counters.log (image index value);
// a line of -1 ends each episode's part.

`timescale 1ns / 1ps

module onespike_harness #(
    parameter W = 32,
    parameter ACC = 20,
    parameter COUNTER = 6,
    parameter LAYER = 8,
    parameter DEPTH = 1 << 22,
    parameter EPISODES = 1
) (
    output reg done = 0,
    output reg failed = 0,
    output reg [31:0] cycle = 0
    `HARNESS_PORTS
);
  reg [31:0] control[0:16*EPISODES+15];
  reg [W-1:0] image[0:DEPTH-1];
  reg [31:0] load[0:DEPTH-1];
  integer writes_log, logits_log, counters_log;

  reg [31:0] episode = 0;
  wire [31:0] at = 16 * (episode + 1);
  wire [31:0] images = control[at], beats = control[at+1], load_words = control[at+2], counter_words = control[at+3];
  wire [31:0] image_stall = control[at+4], logits_stall = control[at+5], serial = control[at+7], limit = control[at+8];
  wire [31:0] settle = control[at+9], latency = control[at+10], interval = control[at+11];
  wire [31:0] external_beats = control[at+12], varied = control[at+13], weights_at = control[at+14];

  reg rst = 1;
  `HARNESS_CLOCK

  reg enable = 0;
  reg image_valid = 0, load_valid = 0, logits_ready = 0;
  wire image_ready, load_ready, logits_valid;
  wire [ACC+16:0] logits;
  wire signed [63:0] logit = {{(64 - ACC) {logits[ACC-1]}}, logits[ACC-1:0]};
  wire write_enable;
  wire [31:0] write_address, write_data;
  wire [5:0] write_slice;
  wire [LAYER - 1:0] write_layer;
  reg [COUNTER-1:0] counter = 0;
  wire [31:0] count;
  reg [31:0] beat = 0, loaded = 0, image_no = 0;
  reg [31:0] first_beat = 0, first_word = 0;  // of this episode

  wire broken;  // a rule of the bus, or the engine notes a fault
  `HARNESS_DUT

  // One xorshift step gives the bytes for both streams.
  reg [31:0] random;
  function [31:0] xorshift(input [31:0] x);
    reg [31:0] y;
    begin
      y = x ^ (x << 13);
      y = y ^ (y >> 17);
      xorshift = y ^ (y << 5);
    end
  endfunction

  initial begin
    $readmemh("control.hex", control);
    $readmemh("image.hex", image);
    $readmemh("load.hex", load);
    writes_log = $fopen("writes.log", "w");
    logits_log = $fopen("logits.log", "w");
    counters_log = $fopen("counters.log", "w");
    random = control[22] | 1;
  end

  // How far the counters of the finished image have been read, plus three cycles of latency.
  reg reading = 0;
  reg [31:0] read_at = 0;
  reg [31:0] wait_left = 0;
  reg [31:0] allowed = 1;  // images that may be fed
  reg [31:0] age = 0;  // cycles of this episode
  reg [31:0] rest = 0;  // cycles before the next begins
  wire [31:0] offered = beat - first_beat + (image_valid ? 1 : 0);

  always @(posedge clk) begin
    cycle <= cycle + 1;
    age   <= age + 1;
    rst <= cycle < 3 || (rest != 0 && rest < 4 && control[at+31][31]);
    random <= xorshift(random);
    if (age >= 8 && loaded - first_word == load_words && !load_valid) enable <= 1;

    // Load stream.
    if (load_valid && load_ready) load_valid <= 0;
    if (age >= 6 && loaded - first_word < load_words && (!load_valid || load_ready)) begin
      load_valid <= 1;
      loaded <= loaded + 1;
    end

    // Image stream: `beat` is the beat on offer.
    if (image_valid && image_ready) begin
      image_valid <= 0;
      beat <= beat + 1;
    end
    if (age >= 6 + settle && (!image_valid || image_ready) && random[7:0] >= image_stall && offered < images * beats
        && (!serial || offered < allowed * beats))
      image_valid <= 1;

    // Logits stream.
    logits_ready <= random[15:8] >= logits_stall;
    if (logits_valid && logits_ready) begin
      $fdisplay(logits_log, "%0d %0d %0d %0d", image_no, logit, logits[ACC+15:ACC], cycle);
      if (logits[ACC+16]) begin
        image_no <= image_no + 1;
        wait_left <= 8 + settle;
        if (image_no + 1 == images || serial != 0) reading <= 1;
      end
    end

    // Spike words. The engine writes the images' layers strictly in order.
    if (write_enable) $fdisplay(writes_log, "%0d %0d %0d %0d", write_layer, write_address, write_slice, write_data);

    // Counters.
    if (wait_left != 0) wait_left <= wait_left - 1;
    else if (reading) begin
      counter <= read_at[COUNTER-1:0];
      if (read_at >= 3) $fdisplay(counters_log, "%0d %0d %0d", image_no - 1, read_at - 3, count);
      read_at <= read_at + 1;
      if (read_at == counter_words + 2) begin
        read_at <= 0;
        reading <= 0;
        allowed <= allowed + 1;
        if (image_no == images) begin
          $fdisplay(writes_log, "-1 -1 -1 -1");
          $fdisplay(logits_log, "-1 -1 -1 -1");
          $fdisplay(counters_log, "-1 -1 -1");
          if (episode + 1 == control[0]) begin
            $fflush(writes_log);
            $fflush(logits_log);
            $fflush(counters_log);
            done <= 1;
          end else begin
            enable <= 0;
            rest <= control[at+31][30:0] + 5;
          end
        end
      end
    end

    // The next episode. Until then this one's settings hold, for what is still on its way from external memory.
    if (rest != 0) begin
      enable <= 0;
      age <= 0;
      rest <= rest - 1;
      if (rest == 1) begin
        episode <= episode + 1;
        first_beat <= first_beat + images * beats;
        first_word <= first_word + load_words;
        image_no <= 0;
        allowed <= 1;
        random <= control[at+22] | 1;
      end
    end
    if (age == limit || broken) begin
      $fflush(writes_log);
      $fflush(logits_log);
      $fflush(counters_log);
      failed <= 1;
      done <= 1;
    end
  end
endmodule
