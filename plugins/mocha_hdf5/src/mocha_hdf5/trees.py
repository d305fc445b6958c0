"""A guard for HDF5's B-trees of version 1: the library follows any address, also in circles, until it crashes.

The file format specification defines a node: `TREE`, its kind (0: names of a group, 1: chunks), its level, the number
of its children, two siblings; then a key before and after each child's address. Leaves have level 0.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from mocha_core.api import FileError

if TYPE_CHECKING:
    from mocha_hdf5.contents import Contents

NODE = struct.Struct("<4sBBHQQ")
GROUP, CHUNKS = 0, 1
#: An address that leads nowhere.
NOWHERE = 2**64 - 1
#: The kinds of messages that an extension of the superblock may have: an empty one, the place of more messages, and how
#: free space is managed.
NOTHING, CONTINUED, SPACE = 0x00, 0x10, 0x17
LARGEST_EXTENSION = 2**12
#: The maximum number of children of a node; files with larger nodes are refused.
MOST_CHILDREN = 128
#: The maximum number of nodes of a group's tree that a listing visits, if all are full.
MOST_NODES = 2 * 10**6
#: The signatures of indexes that are arrays, and the offsets of their numbers of chunks. Large ones take long to list.
_ARRAYS = {b"FAHD": slice(8, 16), b"EAHD": slice(44, 52)}
MOST_IN_ARRAY = 2**17


def check_superblock(contents: Contents) -> None:
    """Check that addresses take 8 bytes and nodes have few children, as in nearly all files.

    Raises:
        FileError: the file has another form.
    """
    block = bytes(contents.read(contents.base, min(48, contents.size - contents.base))).ljust(48, b"\0")
    version, addresses = block[8], block[13] if block[8] < 2 else block[9]
    if version < 2:
        usual = max(struct.unpack_from("<HH", block, 16)) <= MOST_CHILDREN // 2
        if version == 1:
            usual = usual and struct.unpack_from("<H", block, 24)[0] <= MOST_CHILDREN // 2
    else:
        (extension,) = struct.unpack_from("<Q", block, 20)
        usual = extension == NOWHERE or _is_harmless(contents, contents.base + extension)
    if addresses != 8 or not usual:
        raise FileError(
            f"'{contents.path}' has an index of unusual form, which is not read. Write it again, as h5py does."
        )


def _is_harmless(contents: Contents, at: int) -> bool:
    """Whether an extension of the superblock says only how space is managed, and sets no sizes of nodes.

    It is an object header of version 1 or 2, see the file format specification.
    """
    if at + 64 > contents.size:
        return False
    head = bytes(contents.read(at, 64))
    if head[0] == 1:
        begin, size, form, each = at + 16, int.from_bytes(head[8:12], "little"), "<HH", 8
    elif head[:5] == b"OHDR\2":
        flags = head[5]
        start, width = 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1), 1 << (flags & 3)
        size = int.from_bytes(head[start : start + width], "little")
        begin, form, each = at + start + width, "<BH", 6 if flags & 4 else 4
    else:
        return False
    blocks = [(begin, size)]
    for begin, size in blocks:
        if size > LARGEST_EXTENSION or begin + size > contents.size or len(blocks) > 4:
            return False
        messages, place = bytes(contents.read(begin, size)), 0
        while place + each <= size:
            kind, length = struct.unpack_from(form, messages, place)
            place += each + length
            if kind == CONTINUED and length >= 16 and place <= size:
                offset, more = struct.unpack_from("<QQ", messages, place - length)
                frame = 4 if head[0] != 1 else 0  # a signature before the messages, and a checksum after them
                blocks.append((contents.base + offset + frame, max(0, more - 2 * frame)))
            elif kind not in (NOTHING, SPACE):
                return False
    return True


class Guard:
    """Checks the pieces of one file that the library reads.

    Attributes:
        bounded: whether all chunk indexes that were read so far are trees, which are checked, or small arrays.
    """

    def __init__(self, contents: Contents) -> None:
        lengths = contents.read(contents.base, 16)
        self.bounded = lengths[14 if lengths[8] < 2 else 10] == 8  # bytes, as `_ARRAYS` has it
        self._contents = contents
        self._parents: dict[int, int] = {}

    def check(self, at: int, piece: memoryview, rank: int) -> None:
        """Check that a node leads to nodes that are one level lower, and so never back to itself.

        Only one node may lead to a node of chunks, so that visiting all of them takes no longer than reading the file.

        Args:
            at: the offset of the piece in the file.
            piece: the bytes of one read of the library: a node, or something else.
            rank: the number of axes of the dataset whose chunks are being looked up.

        Raises:
            FileError: the node leads elsewhere.
        """
        signature = bytes(piece[:4])
        if signature in _ARRAYS:
            at_most = int.from_bytes(bytes(piece[_ARRAYS[signature]]).ljust(8, b"\xff"), "little")
            self.bounded &= at_most <= MOST_IN_ARRAY
        elif signature == b"BTHD":
            self.bounded &= bytes(piece[5:6]) not in (b"\x0a", b"\x0b")  # of chunks
        if len(piece) < NODE.size or signature != b"TREE":
            return
        contents = self._contents
        _, kind, level, count, _, _ = NODE.unpack(piece[: NODE.size])
        if level == 0 or kind > CHUNKS or count > MOST_CHILDREN:  # the library refuses the others
            return
        key = 8 if kind == GROUP else 8 + 8 * (rank + 1)
        if NODE.size + count * (key + 8) > len(piece) or (kind == GROUP and count ** (level + 1) > MOST_NODES):
            raise _damaged(contents, at)
        for number in range(count):
            (child,) = struct.unpack_from("<Q", piece, NODE.size + number * (key + 8) + key)
            child += contents.base
            if child + NODE.size > contents.size:
                raise _damaged(contents, at)
            found, its_kind, its_level, *_ = NODE.unpack(contents.read(child, NODE.size))
            if (found, its_kind, its_level) != (b"TREE", kind, level - 1):
                raise _damaged(contents, at)
            if kind == CHUNKS and self._parents.setdefault(child, at + number) != at + number:
                raise _damaged(contents, at)


def _damaged(contents: Contents, at: int) -> FileError:
    return FileError(
        f"'{contents.path}' is damaged: expected the index at byte {at} to lead to nodes of the level below, found "
        "others. Write the file again."
    )
