"""Run by torchrun: the example under Accelerate, after which each process leaves its weights in a folder."""

import os
import sys

import accelerate_script
import torch

steps, folder = sys.argv[1:]
networks = accelerate_script.train(int(steps))
torch.save([network.state_dict() for network in networks], f"{folder}/{os.environ['RANK']}")
