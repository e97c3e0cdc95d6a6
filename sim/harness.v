// SPDX-License-Identifier: Apache-2.0
// Test bench around the engine that needs no Python while it runs: it makes the clock, feeds images from memory with
// random gaps, takes the logits with random stalls and logs what it sees. cocotb starts it and checks the logs.
//
// control.hex: images, beats per image, load words, counter words, stall of the image / logits stream (0..255 of 256),
// seed, serial (1: the next image waits until the counters of this one have been read), cycle limit, cycles before each
// image that is waited for, for streamed weights to arrive; external memory: latency, interval, beats, varied.
// Logs: writes.log (image layer address slice data), logits.log (image value best cycle), counters.log (image index value).

`timescale 1ns / 1ps

module onespike_harness #(
    parameter W = 32,
    parameter ACC = 20,
    parameter COUNTER = 6,
    parameter DEPTH = 1 << 22
) (
    output reg done = 0,
    output reg failed = 0,
    output reg [31:0] cycle = 0
    `HARNESS_PORTS
);
  reg [31:0] control[0:13];
  reg [W-1:0] image[0:DEPTH-1];
  reg [31:0] load[0:DEPTH-1];
  integer writes_log, logits_log, counters_log;

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
  wire [7:0] write_layer;
  reg [COUNTER-1:0] counter = 0;
  wire [31:0] count;
  reg [31:0] beat = 0, loaded = 0, image_no = 0, write_image = 0;

  wire broken;  // a rule of the bus
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
    if (control[2] != 0) $readmemh("load.hex", load);
    writes_log = $fopen("writes.log", "w");
    logits_log = $fopen("logits.log", "w");
    counters_log = $fopen("counters.log", "w");
    random = control[6] | 1;
  end

  // How far the counters of the finished image have been read, plus three cycles of latency.
  reg reading = 0;
  reg [31:0] read_at = 0;
  reg [31:0] wait_left = 0;
  reg [31:0] allowed = 1;  // images that may be fed
  reg [31:0] fed = 0;  // beats of the current image

  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= cycle < 3;
    random <= xorshift(random);
    if (cycle >= 8 && loaded == control[2] && !load_valid) enable <= 1;

    // Load stream.
    if (load_valid && load_ready) load_valid <= 0;
    if (cycle >= 6 && loaded < control[2] && (!load_valid || load_ready)) begin
      load_valid <= 1;
      loaded <= loaded + 1;
    end

    // Image stream: `beat` is the beat on offer.
    if (image_valid && image_ready) begin
      image_valid <= 0;
      beat <= beat + 1;
      fed <= fed + 1 == control[1] ? 0 : fed + 1;
    end
    if (cycle >= 6 + control[9] && (!image_valid || image_ready) && random[7:0] >= control[4]
        && (beat + (image_valid ? 1 : 0)) < control[0] * control[1]
        && (!control[7] || (beat + (image_valid ? 1 : 0)) < allowed * control[1]))
      image_valid <= 1;

    // Logits stream.
    logits_ready <= random[15:8] >= control[5];
    if (logits_valid && logits_ready) begin
      $fdisplay(logits_log, "%0d %0d %0d %0d", image_no, logit, logits[ACC+15:ACC], cycle);
      if (logits[ACC+16]) begin
        image_no <= image_no + 1;
        wait_left <= 8 + control[9];
        if (image_no + 1 == control[0] || control[7] != 0) reading <= 1;
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
      if (read_at == control[3] + 2) begin
        read_at <= 0;
        reading <= 0;
        allowed <= allowed + 1;
        if (image_no == control[0]) begin
          $fflush(writes_log);
          $fflush(logits_log);
          $fflush(counters_log);
          done <= 1;
        end
      end
    end
    if (cycle == control[8] || broken) begin
      failed <= 1;
      done <= 1;
    end
  end
endmodule
