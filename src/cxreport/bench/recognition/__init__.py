"""Recognition: does pre-training help to tell one label in an X-ray, with few labels and with all.

The protocol of HD-MAE's tables (linear probe and fine-tuning at 1, 10 and 100 % of the training labels) with
what it lacked: weights that are checked to be the pre-trained ones, epoch, regularisation and threshold
from the val split, several seeds with their own subsets, intervals, and a model that sees no image.
"""
