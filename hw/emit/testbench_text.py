# SPDX-License-Identifier: Apache-2.0
"""The Verilog of which `testbench.py` makes a bench; <NAMES> are filled in. Verilog-2005, but for $fatal at the end."""

HEAD = """// SPDX-License-Identifier: Apache-2.0
// Example test bench of module <TOP>: images in, and logits and classes compared with the golden model's integers.
// <ORIGIN>
// Generated; run it in this folder, in which the memory images are:
//
//   $ iverilog -g2005 -o <TOP>_tb.vvp <TOP>_tb.v <FILES> && vvp -n <TOP>_tb.vvp
//   $ verilator --binary --timing -Wall --top-module <TOP>_tb lint.vlt <TOP>_tb.v <FILES> && obj_dir/V<TOP>_tb
//
// Arguments of a run: +stall=P, whoever sends and takes pauses in P of 100 cycles, 0 to 90 (default: 0); +seed=N of the
// pauses. It prints PASS and ends with exit code 0, or FAIL and ends with another one.
<RUN_NOTE>
`timescale 1ns / 1ps

module <TOP>_tb;
  localparam IMAGES = <IMAGES>;
  localparam BEATS = <BEATS>;  // of an image
  localparam LOGITS = <LOGITS>;  // of an image: every place has CHANNELS of them
  localparam CHANNELS = <CHANNELS>;
  localparam LIMIT = <LIMIT>;  // cycles; all is over well before

  reg [<W>-1:0] images[0:IMAGES*BEATS-1];
  reg [<ACC>-1:0] logits[0:IMAGES*LOGITS-1];
  reg [15:0] classes[0:IMAGES*LOGITS/CHANNELS-1];

  reg <CLOCK> = 1'b0;
  always #5 <CLOCK> = ~<CLOCK>;
  reg reset = 1'b1;

  // One xorshift step a cycle says who pauses.
  integer stall = 0;
  integer seed = 1;
  reg [31:0] random = 32'd1;
  wire send = random[7:0] * 100 >= stall * 256;
  wire take = random[15:8] * 100 >= stall * 256;
  function [31:0] xorshift(input [31:0] x);
    reg [31:0] y;
    begin
      y = x ^ (x << 13);
      y = y ^ (y >> 17);
      xorshift = y ^ (y << 5);
    end
  endfunction

  integer cycle = 0;
  integer errors = 0;
  integer found = 0;  // logits that have come
  integer begun = 0;  // cycle in which the first beat is sent

  task complain(input [63:0] got, input [63:0] wanted, input [8*8-1:0] what);
    begin
      errors = errors + 1;
      if (errors <= 10)
        $display("image %0d, logit %0d: %0s %0d, not %0d", found / LOGITS, found % LOGITS, what, $signed(got),
                 $signed(wanted));
    end
  endtask

  // The next logit of the stream, sign-extended.
  task check_logit(input [63:0] value);
    reg [63:0] wanted;
    begin
      wanted = {{64 - <ACC>{logits[found][<ACC>-1]}}, logits[found]};
      if (value != wanted) complain(value, wanted, "value");
    end
  endtask

  // The class, with the last logit of a place.
  task check_class(input [15:0] best);
    begin
      if (best != classes[found / CHANNELS]) complain({48'd0, best}, {48'd0, classes[found / CHANNELS]}, "class");
    end
  endtask

  task count_logit;
    begin
      if (found % LOGITS == LOGITS - 1)
        $display("image %0d: class %0d, cycle %0d", found / LOGITS, classes[found / CHANNELS], cycle - begun);
      found = found + 1;
    end
  endtask

  initial begin
    $readmemh("tb_image.hex", images);
    $readmemh("tb_logits.hex", logits);
    $readmemh("tb_classes.hex", classes);
    if (!$value$plusargs("stall=%d", stall)) stall = 0;
    if (!$value$plusargs("seed=%d", seed)) seed = 1;
    if (stall < 0 || stall > 90) begin
      $display("FAIL: +stall must be 0 to 90");
      $fatal(1);
    end
    random = {seed[30:0], 1'b1};
  end

  always @(posedge <CLOCK>) begin
    cycle <= cycle + 1;
    random <= xorshift(random);
    reset <= cycle < 4;
  end
"""

BLANK_NOTE = """// Compiled with -DONESPIKE_BLANK, the memories start empty and are filled through the load stream.
"""

# Images as a stream with valid and ready, results likewise: of the engine, and of its AXI front.
STREAMS = """
  // Images: a beat is offered, and stands until it is taken.
  integer next = 0;
  reg image_valid = 1'b0;
  reg [<W>-1:0] image_data = 0;
  reg image_last = 1'b0;
  wire image_ready;
  always @(posedge <CLOCK>) begin
    if (image_ready) image_valid <= 1'b0;
    if (go && (!image_valid || image_ready) && next < IMAGES * BEATS && send) begin
      image_valid <= 1'b1;
      image_data <= images[next];
      image_last <= next % BEATS == BEATS - 1;
      next <= next + 1;
      if (next == 0) begun <= cycle;
    end
  end

  // Results: taken in the cycles in which both sides are ready.
  reg result_ready = 1'b0;
  wire result_valid, result_last;
  wire [63:0] result_value;
  wire [15:0] result_best;
  always @(posedge <CLOCK>) begin
    result_ready <= take;
    if (result_valid && result_ready) begin
      if (found == IMAGES * LOGITS) complain(64'd1, 64'd0, "surplus");
      else begin
        check_logit(result_value);
        if (found % CHANNELS == CHANNELS - 1) check_class(result_best);
        if (result_last != (found % LOGITS == LOGITS - 1))
          complain({63'd0, result_last}, {63'd0, !result_last}, "last");
        count_logit;
      end
    end
  end
"""

ENGINE = (
    """
  // Run once the reset is over and, where the memories start empty, they have been filled.
  wire loaded;
  reg go = 1'b0;
  always @(posedge clk) go <= !reset && loaded;
"""
    + STREAMS
    + """
<LOAD><MEMORY><FAULTS>
  wire [<ACC>+16:0] payload;
  assign result_value = {{64 - <ACC>{payload[<ACC>-1]}}, payload[<ACC>-1:0]};
  assign result_best = payload[<ACC>+15:<ACC>];
  assign result_last = payload[<ACC>+16];
  <TOP> dut (
      .clk(clk),
      .rst(reset),
      .enable(go),
      .image__payload(image_data),
      .image__valid(image_valid),
      .image__ready(image_ready),
      .logits__payload(payload),
      .logits__valid(result_valid),
      .logits__ready(result_ready),<LOAD_PORTS>
      // Only for observation.
      .counter(<COUNTER>'d0),
      .count(),
      .write__enable(),
      .write__address(),
      .write__data(),
      .write__slice(),
      .write__layer()<FAULT_PORT><WEIGHT_ADDRESS_PORT><MEMORY_PORTS>
  );
"""
)

FAULTS = """
  wire [<FAULT_BITS>-1:0] faults;
  always @(posedge clk) if (go && faults != 0) complain({{64 - <FAULT_BITS>{1'b0}}, faults}, 64'd0, "fault");
"""
FAULT_PORT = """,
      .faults(faults)"""
LOAD = """  // The load stream.
  wire load_ready;
`ifdef ONESPIKE_BLANK
  reg [31:0] load_words[0:<LOAD_WORDS>-1];
  initial $readmemh("load.hex", load_words);
  integer words = 0;
  wire load_valid = !reset && words < <LOAD_WORDS>;
  wire [31:0] load_word = load_words[words % <LOAD_WORDS>];
  assign loaded = words == <LOAD_WORDS>;
  always @(posedge clk) if (load_valid && load_ready) words <= words + 1;
`else
  wire load_valid = 1'b0;
  wire [31:0] load_word = 32'd0;
  assign loaded = 1'b1;
`endif
"""
NO_LOAD = "  assign loaded = 1'b1;\n"
LOAD_PORTS = """
      .load__payload(load_word),
      .load__valid(load_valid),
      .load__ready(load_ready),"""
BLANK_LOAD_PORTS = """
      .load__payload(32'd0),
      .load__valid(1'b0),
      .load__ready(),"""
WEIGHT_PORTS = """,
      .weight_address(32'd<WEIGHT_ADDRESS>),
      .weight_error(),
      .weight_idle()"""
WEIGHT_REGISTER = "    write_register(<REG_WEIGHT_ADDRESS>, 32'd<WEIGHT_ADDRESS>);\n"

# One burst after the other, a few cycles after its address.
MEMORY = """
  // External memory with the weights: an AXI4 subordinate that is only read.
<MEMORY_WIRES>  reg [7:0] weights[0:<MEMORY_BYTES>-1];
  integer weight_file, weight_bytes, place, left, waits, lane;
  initial begin
    weight_file = $fopen("weights.bin", "rb");
    weight_bytes = $fread(weights, weight_file);
    if (weight_bytes != <MEMORY_BYTES>) begin
      $display("FAIL: weights.bin has %0d bytes, not <MEMORY_BYTES>", weight_bytes);
      $fatal(1);
    end
    $fclose(weight_file);
    m_axi_arready = 1'b1;
    m_axi_rvalid = 1'b0;
    m_axi_rlast = 1'b0;
    m_axi_rdata = 0;
    place = 0;
    left = 0;
    waits = 0;
  end
  always @(posedge <CLOCK>) begin
    if (m_axi_arvalid && m_axi_arready) begin
      m_axi_arready <= 1'b0;
      place <= (m_axi_araddr - <WEIGHT_ADDRESS>) >> <BEAT_SHIFT>;
      left <= {24'd0, m_axi_arlen} + 1;
      waits <= 4;
    end
    if (m_axi_rready) m_axi_rvalid <= 1'b0;
    if (waits != 0) waits <= waits - 1;
    else if (left != 0 && (!m_axi_rvalid || m_axi_rready) && take) begin
      m_axi_rvalid <= 1'b1;
      m_axi_rlast <= left == 1;
      for (lane = 0; lane < <BEAT_BYTES>; lane = lane + 1)
        m_axi_rdata[8*lane+:8] <= weights[place*<BEAT_BYTES>+lane];
      place <= place + 1;
      left <= left - 1;
      if (left == 1) m_axi_arready <= 1'b1;
    end
  end
"""

END = """
  // A little longer than the last logit takes, for one too many.
  integer after = 0;
  always @(posedge <CLOCK>) begin
    if (found == IMAGES * LOGITS) after <= after + 1;
    if (after == 64 && errors == 0) begin
      $display("PASS: %0d images, %0d logits", IMAGES, found);
      $finish;
    end
    if (after == 64 && errors != 0) begin
      $display("FAIL: %0d errors", errors);
      $fatal(1);
    end
    if (cycle > LIMIT / (100 - stall) * 100) begin
      $display("FAIL: %0d of %0d logits after %0d cycles", found, IMAGES * LOGITS, cycle);
      $fatal(1);
    end
  end
endmodule
"""
