// SPDX-License-Identifier: Apache-2.0
// Lattice ECP5 block RAM for simulation of netlists: Yosys has its ports only. Written from the ECP5 memory usage guide
// (FPGA-TN-02204) and from how Yosys connects it: 2048 bytes of 9 bits, two ports of 1, 2, 4, 9, 18 or (with both halves
// of the data pins) 36 bits, each with its output register, if REGMODE asks for it. A read of a row that the other port
// writes in the same cycle has no defined value in silicon: here it gives the complement of the old one, so that a design
// that depends on it fails.
module DP16KD #(
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18,
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC",
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL",
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED",
  parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0,
  parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0,
  parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
  parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0,
  parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0,
  parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
  parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0,
  parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [35:0] data_a = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
                        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [35:0] data_b = {18'b0, DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  reg [35:0] read_a, read_b, register_a, register_b;
  wire [35:0] out_a = REGMODE_A == "OUTREG" ? register_a : read_a;
  wire [35:0] out_b = REGMODE_B == "OUTREG" ? register_b : read_b;
  wire [35:0] out = DATA_WIDTH_B == 36 ? out_b : {out_b[17:0], out_a[17:0]};
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0,
          DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = out;

  reg [8:0] bytes[0:2047];
  localparam [64*320-1:0] contents = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
  integer i;
  initial begin  // 16 words of 18 bits, in 20 each, per parameter
    for (i = 0; i < 2048; i = i + 1) bytes[i] = contents[(i / 32) * 320 + (i / 2 % 16) * 20 + (i % 2) * 9 +: 9];
    read_a = 0;
    read_b = 0;
    register_a = 0;
    register_b = 0;
  end

  // The bytes of a row, as the pins show it.
  function [35:0] row(input integer width, input [13:0] address);
    case (width)
      36: row = {bytes[{address[13:5], 2'd3}], bytes[{address[13:5], 2'd2}],
                 bytes[{address[13:5], 2'd1}], bytes[{address[13:5], 2'd0}]};
      18: row = {18'b0, bytes[{address[13:4], 1'b1}], bytes[{address[13:4], 1'b0}]};
      9: row = {27'b0, bytes[address[13:3]]};
      4: row = {32'b0, bytes[address[13:3]][{address[2], 2'b0} +: 4]};
      2: row = {34'b0, bytes[address[13:3]][{address[2:1], 1'b0} +: 2]};
      default: row = {35'b0, bytes[address[13:3]][address[2:0]]};
    endcase
  endfunction

  // Bytes that a port touches in this cycle, to find collisions.
  function [10:0] first_byte(input integer width, input [13:0] address);
    first_byte = width == 36 ? {address[13:5], 2'b0} : width == 18 ? {address[13:4], 1'b0} : address[13:3];
  endfunction
  function [10:0] last_byte(input integer width, input [13:0] address);
    last_byte = first_byte(width, address) + (width == 36 ? 11'd3 : width == 18 ? 11'd1 : 11'd0);
  endfunction
  wire overlap = first_byte(DATA_WIDTH_A, address_a) <= last_byte(DATA_WIDTH_B, address_b)
              && first_byte(DATA_WIDTH_B, address_b) <= last_byte(DATA_WIDTH_A, address_a);
  wire writes_a = CEA && WEA && (DATA_WIDTH_A < 18 || |address_a[1:0] || (DATA_WIDTH_A == 36 && |address_a[3:2]));
  wire writes_b = CEB && WEB && (DATA_WIDTH_B < 18 || |address_b[1:0]);

  task write(input integer width, input [13:0] address, input [35:0] data);
    case (width)
      36: for (i = 0; i < 4; i = i + 1) if (address[i]) bytes[{address[13:5], 2'b0} + i] <= data[9 * i +: 9];
      18: for (i = 0; i < 2; i = i + 1) if (address[i]) bytes[{address[13:4], 1'b0} + i] <= data[9 * i +: 9];
      9: bytes[address[13:3]] <= data[8:0];
      4: bytes[address[13:3]][{address[2], 2'b0} +: 4] <= data[3:0];
      2: bytes[address[13:3]][{address[2:1], 1'b0} +: 2] <= data[1:0];
      default: bytes[address[13:3]][address[2:0]] <= data[0];
    endcase
  endtask

  always @(posedge CLKA) begin
    if (RSTA) register_a <= 0;
    else if (OCEA) register_a <= read_a;
    if (writes_a) write(DATA_WIDTH_A, address_a, data_a);
    if (RSTA) read_a <= 0;
    else if (CEA && !writes_a)
      read_a <= writes_b && overlap ? ~row(DATA_WIDTH_A, address_a) : row(DATA_WIDTH_A, address_a);
  end
  always @(posedge CLKB) begin
    if (RSTB) register_b <= 0;
    else if (OCEB) register_b <= read_b;
    if (writes_b) write(DATA_WIDTH_B, address_b, data_b);
    if (RSTB) read_b <= 0;
    else if (CEB && !writes_b)
      read_b <= writes_a && overlap ? ~row(DATA_WIDTH_B, address_b) : row(DATA_WIDTH_B, address_b);
  end
endmodule
