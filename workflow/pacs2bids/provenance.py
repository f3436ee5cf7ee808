"""What each volume was made of: the instances behind it, and their digests, for the manifest.

A digest is the SHA-256 of the whole file as it was received. The workflow has them in its receipts, so they
cost nothing there; of any folder they cost a read of every byte (0.6 GB/s and thread measured, about as much
as the whole conversion), so ``convert`` computes them on request.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec.structs import replace

from pacs2bids.files import sha256
from pacs2bids.model import ConversionError, Manifest, Receipt, StudyIndex


def with_sources(manifest: Manifest, index: StudyIndex, digests: Mapping[str, str | None]) -> Manifest:
    """The manifest with the instances behind each volume. ``digests``: SHA-256 by SOPInstanceUID."""
    sources = {
        stack.stack_id: {uid: digests.get(uid) for uid in dict.fromkeys(stack.sop_instance_uids)}
        for stack in index.stacks
    }
    volumes = [replace(volume, sources=sources.get(volume.stack_id, {})) for volume in manifest.volumes]
    return replace(manifest, volumes=tuple(volumes))


def received_digests(receipt: Receipt) -> dict[str, str | None]:
    """SHA-256 by SOPInstanceUID, as the instances came from the PACS."""
    return {instance.sop_instance_uid: instance.sha256 for instance in receipt.received}


def file_digests(index: StudyIndex, folder: Path, *, jobs: int) -> dict[str, str | None]:
    """SHA-256 by SOPInstanceUID of every file below ``folder`` that is in a stack; ``jobs`` files at a time.

    Raises ConversionError for a file that cannot be read.
    """
    paths = {
        uid: image.path
        for stack in index.stacks
        for uid, image in zip(stack.sop_instance_uids, stack.images, strict=True)
    }

    def digest(path: str) -> str:
        try:
            return sha256(folder / path)
        except OSError as error:
            raise ConversionError(f"cannot be read: {error.strerror}", where=path) from error

    with ThreadPoolExecutor(max_workers=max(jobs, 1)) as pool:
        return dict(zip(paths, pool.map(digest, paths.values()), strict=True))
