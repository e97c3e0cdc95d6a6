// SPDX-License-Identifier: Apache-2.0
// External memory for the engine's test bench: answers AXI4 read bursts in order, `latency` cycles (at least 2) after
// an address was taken, then a beat every `interval` cycles; with `varied` set, addresses wait, latencies grow and beats
// pause at random. It checks what the standard asks of a master that reads. Contents: external.hex, one beat per line.

module axi_memory #(
    parameter A = 64,
    parameter BASE = 32'h0001_3000,
    parameter DEPTH = 1 << 20
) (
    input clk,
    input rst,
    input [31:0] latency,
    input [31:0] interval,
    input [31:0] size,
    input varied,
    input [31:0] random,
    input [31:0] araddr,
    input [7:0] arlen,
    input [2:0] arsize,
    input [1:0] arburst,
    input arvalid,
    output reg arready = 0,
    output reg [A-1:0] rdata,
    output [1:0] rresp,
    output reg rlast = 0,
    output reg rvalid = 0,
    input rready,
    output reg broken = 0
);
  localparam BYTES = A / 8;
  reg [A-1:0] memory[0:DEPTH-1];
  reg [31:0] place[0:63];
  reg [7:0] beats[0:63];  // - 1
  reg [31:0] due[0:63];
  reg [5:0] head = 0, tail = 0;
  reg [7:0] beat = 0;
  reg [31:0] now = 0, latest = 0;
  wire [31:0] next = now + 1;
  wire [31:0] offset = araddr - BASE;
  reg waited = 0;
  reg [31:0] waited_address;
  reg [7:0] waited_length;
  assign rresp = 0;

  task violated(input [8*40-1:0] rule);
    begin
      $display("AXI4 violated in cycle %0d: %0s", now, rule);
      broken <= 1;
    end
  endtask

  initial $readmemh("external.hex", memory);

  always @(posedge clk) begin
    now <= next;
    arready <= !varied || random[20];
    if (arvalid && arready) begin
      place[tail] <= offset / BYTES;
      beats[tail] <= arlen;
      due[tail] <= now + latency + (varied ? random[27:21] : 0);
      tail <= tail + 1;
      if (arburst != 2'b01) violated("arburst is not INCR");
      if (1 << arsize != BYTES) violated("arsize is not the width of the bus");
      if (araddr % BYTES != 0) violated("araddr is not aligned");
      if (araddr[11:0] + (arlen + 1) * BYTES > 4096) violated("a burst crosses a 4 KB boundary");
      if (offset / BYTES + arlen >= size) violated("a burst reads beyond the image");
      if (tail + 6'd1 == head) violated("more than 63 bursts are on their way");
    end
    if (!rst && waited && (!arvalid || araddr != waited_address || arlen != waited_length))
      violated("an address was changed before it was taken");
    waited <= arvalid && !arready;
    waited_address <= araddr;
    waited_length <= arlen;
    if (rvalid && !rready) violated("this master should always be ready");

    rvalid <= 0;
    rlast <= 0;
    if (head != tail && next >= due[head] && next >= latest + interval && !(varied && random[28])) begin
      rvalid <= 1;
      rdata <= memory[place[head] + beat];
      rlast <= beat == beats[head];
      latest <= next;
      beat <= beat == beats[head] ? 0 : beat + 1;
      if (beat == beats[head]) head <= head + 1;
    end
  end
endmodule
