"""Measure the accuracy of a checkpoint on held-out data."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def evaluate(model: nn.Module, loader: DataLoader) -> float:
    right = total = 0
    with torch.no_grad():
        for features, labels in loader:
            right += (model(features).argmax(dim=1) == labels).sum().item()
            total += len(labels)
    return right / total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    arguments = parser.parse_args()

    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    model.load_state_dict(torch.load(arguments.checkpoint, map_location="cpu"))
    held_out = TensorDataset(torch.randn(64, 4), torch.randint(3, (64,)))
    print(f"accuracy {evaluate(model, DataLoader(held_out, batch_size=16)):.3f}")


if __name__ == "__main__":
    main()
