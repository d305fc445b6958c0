"""The formats of the tree in the kit's tests."""

from mocha_core.testing import FormatTests

#: Other tools write and read them, so that nothing of ours can be asked for.
NO_CHECKSUM = {"test_flipped_bits[network]": "networks are plain HDF5, which has no checksum of contiguous data"}


class TestHDF5(FormatTests):
    ending, xfail = ".hdf5", NO_CHECKSUM


class TestH5(FormatTests):
    ending, xfail = ".h5", NO_CHECKSUM
