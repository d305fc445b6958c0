"""The contents of a folder of snapshots."""

import json


def snapshots(folder):
    return sorted(path.name for path in folder.glob("snapshot-*"))


def everything(*iterations):
    """What a folder holds with snapshots of these iterations, and nothing else."""
    return [".lock", "history.jsonl", "manifest.json", *(f"snapshot-{i:06d}.hdf5" for i in iterations)]


def listed(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return [entry["iteration"] for entry in manifest["snapshots"]]


def iterations(folder):
    """Of the events in the history."""
    return [json.loads(line)["iteration"] for line in (folder / "history.jsonl").read_text().splitlines()]


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
