// SPDX-License-Identifier: Apache-2.0
// Test bench that turns single bits of an engine over, a bit in every trial, between two rising edges of the clock.
//
// A trial resets the engine, loads the network where the trial before may have damaged it, and sends one image.
// trials.hex: 8 words for each: whether to load, first beat of the image, cycle of the flip after the image's first
// (all ones: before it), what is flipped (the branch below, all ones: nothing), row, bit, cycle limit of the image, its
// beats.
// trials.log: "0 trial value best" for every logit, "1 trial cycles faults" where an image ends, or is given up:
// then bit 31 of the cycles is set.

`timescale 1ns / 1ps

module onespike_flips #(
    parameter W = 32,
    parameter ACC = 20,
    parameter LOADS = 1,
    parameter BEATS = 1,
    parameter TRIALS = 1,
    parameter FAULTS = 9,
    parameter WATCHDOG = 8
) (
    output reg done = 0,
    output reg [31:0] trial = 0
);
  reg [31:0] trials[0:8*TRIALS-1];
  reg [31:0] load[0:LOADS];
  reg [W-1:0] image[0:BEATS];
  integer log;

  wire [31:0] loads = trials[8*trial], first = trials[8*trial+1], at = trials[8*trial+2], flipped = trials[8*trial+3];
  wire [31:0] row = trials[8*trial+4], bit_ = trials[8*trial+5], limit = trials[8*trial+6], beats = trials[8*trial+7];

  reg clk = 0;
  always #5 clk = ~clk;
  reg rst = 1, enable = 0, image_valid = 0, load_valid = 0;
  wire image_ready, logits_valid;
  wire [ACC+16:0] logits;
  wire signed [63:0] logit = {{(64 - ACC) {logits[ACC-1]}}, logits[ACC-1:0]};
  wire [FAULTS-1:0] faults;
  reg [31:0] loaded = 0, sent = 0, age = 0, cycle = 0, settled = 0;
  wire [31:0] place = first + sent;
  reg ends = 0;  // the image has ended: a cycle later its faults are complete

  `FLIPS_DUT

  initial begin
    $readmemh("trials.hex", trials);
    $readmemh("load.hex", load);
    $readmemh("image.hex", image);
    log = $fopen("trials.log", "w");
  end

  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst   <= cycle < 3;
    if (load_valid) begin
      loaded <= loaded + 1;
      if (loaded + 1 == LOADS) load_valid <= 0;
    end else if (cycle == 6 && loads != 0) load_valid <= 1;
    if (cycle == 6 && loads == 0) loaded <= LOADS;
    if (cycle > 6 && loaded == LOADS) settled <= settled + 1;
    if (settled == 8 && !enable) begin
      enable <= 1;
      image_valid <= 1;
      age <= 0;
    end
    if (enable) age <= age + 1;
    if (image_valid && image_ready) begin
      sent <= sent + 1;
      if (sent + 1 == beats) image_valid <= 0;
    end
    if (logits_valid) begin
      $fdisplay(log, "0 %0d %0d %0d", trial, logit, logits[ACC+15:ACC]);
      if (logits[ACC+16]) ends <= 1;
    end
    if (ends || (enable && (age >= limit || faults[WATCHDOG]))) begin
      $fdisplay(log, "1 %0d %0d %0d", trial, {!ends, age[30:0]}, faults);
      ends <= 0;
      rst <= 1;
      enable <= 0;
      image_valid <= 0;
      loaded <= 0;
      settled <= 0;
      sent <= 0;
      age <= 0;
      cycle <= 0;
      trial <= trial + 1;
      if (trial + 1 == TRIALS) begin
        $fflush(log);
        done <= 1;
      end
    end
  end

  always @(negedge clk)
    if (enable ? age == at : &at && settled == 7)
      case (flipped)
`FLIPS
        default: ;
      endcase
endmodule
