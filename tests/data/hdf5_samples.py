"""Samples that hold their own number, and nets that read them."""

import numpy as np
import pytest

from mocha_core.errors import FileError


def numbered(*sizes, shape=(2, 3)):
    """Files of samples that all hold their own number, with the number negated as label."""
    files, start = [], 0
    for size in sizes:
        index = np.arange(start, start + size)
        data = np.broadcast_to(index.reshape(-1, *[1] * len(shape)), (size, *shape))
        files.append({"data": data.astype("float64"), "label": -index[:, None].astype("float32")})
        start += size
    return files


def forwards(net, n):
    """The sample numbers of n minibatches; all tops and elements must agree on them."""
    batches = []
    for _ in range(n):
        net.forward()
        data, label = net.blobs["data"].numpy(), net.blobs["label"].numpy()
        assert (data == -label.reshape(-1, *[1] * (data.ndim - 1))).all()
        batches.append((-label[:, 0]).astype(int).tolist())
    return batches


def fails(make_net, source, message, **options):
    with pytest.raises(FileError, match=message):
        make_net(source=source, **({"batch_size": 2} | options))
