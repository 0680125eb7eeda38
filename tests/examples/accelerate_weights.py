"""Run by torchrun: the Accelerate example, after which each process saves its weights in a folder."""

import os
import sys

import accelerate_script
import torch

steps, folder = sys.argv[1:]
networks = accelerate_script.train(int(steps))
torch.save([network.state_dict() for network in networks], f"{folder}/{os.environ['RANK']}")
