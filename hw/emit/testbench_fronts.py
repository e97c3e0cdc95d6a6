# SPDX-License-Identifier: Apache-2.0
"""The Verilog of which `testbench.py` makes the bench of a front; <NAMES> are filled in."""

from .testbench_text import STREAMS

AXI = (
    """
  // AXI4-Lite: one access at a time.
  reg [7:0] awaddr = 0, araddr = 0;
  reg [31:0] wdata = 0;
  reg awvalid = 1'b0, wvalid = 1'b0, arvalid = 1'b0;
  wire awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  reg [31:0] answer = 0;
  reg took_address, took_data, answered;
  task write_register(input [7:0] address, input [31:0] value);
    begin
      @(negedge aclk);
      awaddr = address;
      wdata = value;
      awvalid = 1'b1;
      wvalid = 1'b1;
      answered = 1'b0;
      while (!answered) begin  // what both sides say now holds at the rising edge
        took_address = awready;
        took_data = wready;
        answered = bvalid;
        if (bvalid && bresp != 2'b00) complain({62'd0, bresp}, 64'd0, "bresp");
        @(negedge aclk);
        if (took_address) awvalid = 1'b0;
        if (took_data) wvalid = 1'b0;
      end
    end
  endtask
  task read_register(input [7:0] address);
    begin
      @(negedge aclk);
      araddr = address;
      arvalid = 1'b1;
      answered = 1'b0;
      while (!answered) begin
        took_address = arready;
        answered = rvalid;
        if (rvalid && rresp != 2'b00) complain({62'd0, rresp}, 64'd0, "rresp");
        if (rvalid) answer = rdata;
        @(negedge aclk);
        if (took_address) arvalid = 1'b0;
      end
    end
  endtask

  reg go = 1'b0;
  initial begin
    @(negedge aclk);
    while (reset) @(negedge aclk);
    read_register(<REG_ID>);
    if (answer != 32'h4B505331) complain({32'd0, answer}, 64'h4B505331, "id");
    write_register(<REG_BEATS>, BEATS);
<WEIGHT_ADDRESS_REGISTER>    write_register(<REG_CONTROL>, 1);
    go = 1'b1;
  end
"""
    + STREAMS
    + """<MEMORY>
  wire [32*<LOGIT_WORDS>-1:0] tdata;
  assign result_value = {{65 - 32*<LOGIT_WORDS>{tdata[32*<LOGIT_WORDS>-1]}}, tdata[32*<LOGIT_WORDS>-2:0]};
  <TOP> dut (
      .aclk(aclk),
      .aresetn(!reset),
      .s_axis_tdata(image_data),
      .s_axis_tlast(image_last),
      .s_axis_tvalid(image_valid),
      .s_axis_tready(image_ready),
      .m_axis_tdata(tdata),
      .m_axis_tuser(result_best),
      .m_axis_tlast(result_last),
      .m_axis_tvalid(result_valid),
      .m_axis_tready(result_ready),
      .s_axi_awaddr(awaddr),
      .s_axi_awprot(3'b000),
      .s_axi_awvalid(awvalid),
      .s_axi_awready(awready),
      .s_axi_wdata(wdata),
      .s_axi_wstrb(4'b1111),
      .s_axi_wvalid(wvalid),
      .s_axi_wready(wready),
      .s_axi_bresp(bresp),
      .s_axi_bvalid(bvalid),
      .s_axi_bready(1'b1),
      .s_axi_araddr(araddr),
      .s_axi_arprot(3'b000),
      .s_axi_arvalid(arvalid),
      .s_axi_arready(arready),
      .s_axi_rdata(rdata),
      .s_axi_rresp(rresp),
      .s_axi_rvalid(rvalid),
      .s_axi_rready(1'b1),
      .irq()<MEMORY_PORTS>
  );
"""
)

WISHBONE = """
  // Wishbone: a cycle stands until it is acknowledged.
  reg cyc = 1'b0, we = 1'b0;
  reg [5:0] adr = 0;
  reg [31:0] dat = 0;
  wire ack;
  wire [31:0] dat_o;
  reg [31:0] answer = 0;
  task access(input [7:0] address, input write, input [31:0] value);
    begin
      @(negedge clk);
      while (!send) @(negedge clk);
      cyc = 1'b1;
      we = write;
      adr = address[7:2];
      dat = value;
      @(negedge clk);
      while (!ack) @(negedge clk);  // it holds at the rising edge
      answer = dat_o;
      @(negedge clk);
      cyc = 1'b0;
    end
  endtask

  integer image, beat, logit;
  reg [63:0] value;
  initial begin
    @(negedge clk);
    while (reset) @(negedge clk);
    access(<REG_ID>, 1'b0, 0);
    if (answer != 32'h4B505331) complain({32'd0, answer}, 64'h4B505331, "id");
    access(<REG_BEATS>, 1'b1, BEATS);
    access(<REG_CONTROL>, 1'b1, 1);
    for (image = 0; image < IMAGES; image = image + 1) begin
      answer = 0;
      while (!answer[2]) access(<REG_STATUS>, 1'b0, 0);  // room
      if (image == 0) begun = cycle;
      for (beat = 0; beat < BEATS; beat = beat + 1)
        access(beat == BEATS - 1 ? <REG_IMAGE_LAST> : <REG_IMAGE>, 1'b1, {{32 - <W>{1'b0}}, images[image*BEATS+beat]});
      answer = 0;
      while (!answer[3]) access(<REG_STATUS>, 1'b0, 0);  // result
      for (logit = 0; logit < LOGITS; logit = logit + 1) begin
        access(<REG_LOGIT>, 1'b0, 0);
        value = {{32{answer[31]}}, answer};
        if (<LOGIT_WORDS> == 2) begin
          access(<REG_LOGIT>, 1'b0, 0);
          value[63:32] = answer;
        end
        check_logit(value);
        if (logit == LOGITS - 1) begin
          access(<REG_CLASS>, 1'b0, 0);
          check_class(answer[15:0]);
        end
        count_logit;
      end
    end
  end

  <TOP> dut (
      .clk(clk),
      .rst(reset),
      .wb_adr_i(adr),
      .wb_dat_i(dat),
      .wb_dat_o(dat_o),
      .wb_sel_i(4'b1111),
      .wb_we_i(we),
      .wb_cyc_i(cyc),
      .wb_stb_i(cyc),
      .wb_ack_o(ack),
      .irq()
  );
"""
