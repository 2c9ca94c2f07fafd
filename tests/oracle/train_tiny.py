"""Trains torchvision's ResNet-18 on Tiny-ImageNet-20 under both heads: the accuracy to expect.

Recipe: 64 x 64, or --size; SGD momentum 0.9, weight decay 1e-4 on every parameter, batch 128, peak learning
rate 0.05, one epoch of linear warm-up from 1 % of it, then a cosine to 0, both per step;
RandomResizedCrop(scale 0.35 to 1) and flip; ImageNet mean and std; cross-entropy without
smoothing; the last partial batch is dropped. Validation images are resized where --size isn't theirs.

--data holds train/<wnid>/ and val/<wnid>/; --class-list has lines "index TAB wnid TAB name" and
says which row of --text-features (a .pth with one C x 512 tensor) belongs to a folder.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision import transforms

from networks import EMBEDDING, TextGuided

NORMALISE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def loaders(args):
    train = transforms.Compose([
        transforms.RandomResizedCrop(args.size, scale=(0.35, 1.0)), transforms.RandomHorizontalFlip(),
        transforms.ToTensor(), NORMALISE,
    ])
    plain = transforms.Compose([transforms.Resize(args.size), transforms.ToTensor(), NORMALISE])
    sets = [torchvision.datasets.ImageFolder(f"{args.data}/{split}", transform)
            for split, transform in (("train", train), ("val", plain))]
    make = torch.utils.data.DataLoader
    shared = {"batch_size": args.batch, "num_workers": args.workers}
    return (sets[0].classes, make(sets[0], shuffle=True, drop_last=True, **shared), make(sets[1], **shared))


def head_rows(args, wnids):
    """The text features of these classes, each divided by its norm."""
    features = torch.load(args.text_features, map_location="cpu", weights_only=True)
    if isinstance(features, dict):
        (features,) = features.values()
    with open(args.class_list, encoding="utf-8") as lines:
        row_of = {wnid: int(index) for index, wnid, _ in (line.rstrip("\n").split("\t") for line in lines)}
    return F.normalize(features[[row_of[wnid] for wnid in wnids]].float(), dim=-1)


def build(head, args, wnids):
    if head == "baseline":
        return torchvision.models.resnet18(num_classes=len(wnids))
    net = TextGuided(torchvision.models.resnet18(num_classes=EMBEDDING), len(wnids))
    with torch.no_grad():
        net.logit_scale.fill_(math.log(1 / 0.07))
        if head == "text-guided":
            net.head.weight.copy_(head_rows(args, wnids))
        else:
            net.head.weight.copy_(F.normalize(torch.randn_like(net.head.weight), dim=-1))
    return net


def rate(step, per_epoch, epochs, peak):
    if step < per_epoch:
        return peak * (0.01 + 0.99 * step / per_epoch)
    share = (step - per_epoch) / max(1, per_epoch * (epochs - 1))
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def accuracy(net, batches):
    net.eval()
    right = seen = 0
    with torch.no_grad():
        for x, labels in batches:
            right += (net(x).argmax(1) == labels).sum().item()
            seen += len(labels)
    return right / seen


def train(head, args):
    torch.manual_seed(args.seed)
    wnids, batches, held_out = loaders(args)
    net = build(head, args, wnids)
    optimiser = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    step = 0
    for epoch in range(args.epochs):
        net.train()
        start, total = time.perf_counter(), 0.0
        for x, labels in batches:
            optimiser.param_groups[0]["lr"] = rate(step, len(batches), args.epochs, args.lr)
            optimiser.zero_grad(set_to_none=True)
            loss = F.cross_entropy(net(x), labels)
            loss.backward()
            optimiser.step()
            total += loss.item()
            step += 1
        seconds = time.perf_counter() - start
        speed = len(batches) * args.batch / seconds
        print(f"{head} epoch {epoch + 1}/{args.epochs}: loss {total / len(batches):.4f}, "
              f"top-1 {100 * accuracy(net, held_out):.2f} %, {seconds:.1f} s, {speed:.1f} images/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text-features")
    parser.add_argument("--class-list")
    parser.add_argument("--heads", nargs="+", default=["baseline", "text-guided"],
                        choices=["baseline", "text-guided", "random-rows"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if "text-guided" in args.heads and not (args.text_features and args.class_list):
        parser.error("the text-guided head needs --text-features and --class-list")
    torch.set_num_threads(args.threads)
    for head in args.heads:
        train(head, args)


if __name__ == "__main__":
    main()
