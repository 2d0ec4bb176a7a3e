"""The artifact store: content by digest, results by key."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

import edgekit
from edgekit.core.artifact import Artifact
from edgekit.core.hashing import digest_path, has_digest
from edgekit.core.stage import Note, StageResult
from edgekit.errors import InputError, InternalError, UsageError
from edgekit.store.durable import TEMPORARY_PREFIX, sync_path, sync_tree, write_bytes
from edgekit.store.file_lock import FileLock, exclusive_lock, locked, shared_lock
from edgekit.store.os_errors import os_errors_explained
from edgekit.store.provenance import OutputRecord, Provenance, Record, Timing
from edgekit.store.scratch import remove_abandoned, remove_outdated, scratch_folder

_FORMAT = "1"
_CHECKPOINT_DAYS = 30
"""So long an interrupted run may wait until somebody goes on with it."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Answer to "has this been done before?".

    Attributes:
        record: The finished run, all of whose artifacts were verified; None if there is none.
        notes: Why a record that exists does not count, if so.
    """

    record: Record | None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Garbage:
    """What `Store.collect_garbage` removed.

    Attributes:
        scratch_folders: Scratch folders of runs that were killed.
        objects: Artifacts that no record names.
        checkpoints: Checkpoints of runs that nobody has gone on with for long.
    """

    scratch_folders: int
    objects: int
    checkpoints: int = 0


class Store:
    """Artifacts by digest and stage runs by key, in one folder.

    Its layout::

        objects/<aa>/<digest><suffix>   a file or folder, named by the sha256 of its content
        runs/<key>.json                 `Record`, written when its objects are in place
        checkpoints/<key>/              what an interrupted run of that key goes on from
        scratch/, locks/                work in progress

    Several processes may use one store at the same time. A kill at any moment leaves a store
    that is correct: what a record names is complete, and the rest is garbage.
    """

    def __init__(self, root: Path) -> None:
        """Opens the store at ``root``, which is made if need be.

        Raises:
            UsageError: If the folder cannot be made or written, or holds another format.
        """
        self.root = root
        self._objects = root / "objects"
        self._runs = root / "runs"
        self._checkpoints = root / "checkpoints"
        self._scratch = root / "scratch"
        self._locks = root / "locks"
        with os_errors_explained("use the store", root):
            for folder in self._folders():
                folder.mkdir(parents=True, exist_ok=True)
            self._check_format()

    def _folders(self) -> tuple[Path, ...]:
        return self._objects, self._runs, self._checkpoints, self._scratch, self._locks

    def _check_format(self) -> None:
        marker = self.root / "format"
        if not marker.exists():
            write_bytes(marker, _FORMAT.encode())
        found = marker.read_text(errors="replace").strip()
        if found != _FORMAT:
            raise UsageError(
                f"The store {self.root} has format {found!r}, and this edgekit reads format "
                f"{_FORMAT!r}. Delete the folder (it only holds what can be made again) or "
                "choose another one."
            )

    def scratch(self) -> AbstractContextManager[Path]:
        """Gives an empty folder on the store's disk, removed afterwards."""
        return scratch_folder(self._scratch)

    def checkpoints(self, key: str) -> Path:
        """Folder for what an interrupted run of ``key`` goes on from; it may not be there yet.

        Only who holds the lock of ``key`` may use it.
        """
        return self._checkpoints / key

    def discard_checkpoints(self, key: str) -> None:
        """Removes what an interrupted run of ``key`` has left."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)

    @contextmanager
    def lock(self, key: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Holds the right to make ``key``; ``on_wait`` is called if another run has it."""
        with locked(self._locks / f"{key}.lock", on_wait):
            yield

    def get(self, key: str) -> Lookup:
        """Looks for the finished run of ``key`` and verifies every artifact it names.

        A record that cannot be read, or that names a missing or damaged artifact, counts as
        absent; the note says why.
        """
        path = self._record_path(key)
        try:
            record = Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Lookup(None)
        except (ValidationError, OSError) as error:
            return Lookup(None, (_damage(path.name, f"the record is unreadable ({error})"),))
        if record.key != key or record.provenance.key() != key:
            return Lookup(None, (_damage(path.name, "the record belongs to another key"),))
        for slot, output in record.outputs.items():
            if reason := self._fault(output):
                return Lookup(None, (_damage(f"output {slot!r}", reason),))
        return Lookup(record)

    def artifact(self, output: OutputRecord) -> Artifact:
        """The artifact that a record's output stands for; it is not verified again."""
        return Artifact(
            kind=output.kind,
            digest=output.digest,
            path=self._object_path(output.digest, output.suffix),
            signature=output.signature,
            metadata=output.metadata,
            precision=output.precision,
        )

    def commit(
        self, provenance: Provenance, result: StageResult, workdir: Path, timing: Timing
    ) -> Record:
        """Moves a stage's artifacts into the store and writes the record, in that order.

        Args:
            provenance: What the result was made from.
            result: What the stage gave; its artifacts lie below ``workdir`` and are moved.
            workdir: The scratch folder that the stage worked in.
            timing: When and how long it ran.

        Raises:
            InternalError: If an artifact lies elsewhere, is missing or has another digest.
            UsageError: If the disk is full or may not be written.
        """
        stage = provenance.stage
        with self._explained("write to the store"), shared_lock(self.root / "commit.lock"):
            record = Record(
                key=provenance.key(),
                provenance=provenance,
                outputs={
                    slot: self._put(stage, slot, artifact, workdir)
                    for slot, artifact in sorted(result.artifacts.items())
                },
                metrics=dict(result.metrics),
                notes=result.notes,
                edgekit_version=edgekit.__version__,
                started=timing.started,
                duration_s=timing.duration_s,
            )
            write_bytes(self._record_path(record.key), record.model_dump_json(indent=1).encode())
        return record

    def collect_garbage(self) -> Garbage:
        """Removes what killed runs left behind: scratch folders and unnamed artifacts.

        Artifacts are left alone while another process is committing.
        """
        with self._explained("clean"):
            scratch = remove_abandoned(self._scratch)
            for path in self._locks.glob("*.lock"):
                lock = FileLock(path)
                if lock.try_acquire():
                    lock.release()
            with exclusive_lock(self.root / "commit.lock") as alone:
                objects = self._remove_unnamed() if alone else 0
            checkpoints = remove_outdated(self._checkpoints, _CHECKPOINT_DAYS)
        return Garbage(scratch, objects, checkpoints)

    def _remove_unnamed(self) -> int:
        """Call only while nobody commits: who commits has unnamed objects for a moment."""
        for leftover in self._runs.glob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink(missing_ok=True)
        named: set[str] = set()
        for path in self._runs.glob("*.json"):
            try:
                record = Record.model_validate_json(path.read_bytes())
            except ValidationError:
                continue
            named.update(output.digest for output in record.outputs.values())
        removed = 0
        for path in self._objects.glob("*/*"):
            if path.name.partition(".")[0] not in named:
                _remove(path)
                removed += 1
        return removed

    def _put(self, stage: str, slot: str, artifact: Artifact, workdir: Path) -> OutputRecord:
        source = artifact.path
        if source.is_symlink() or not source.resolve().is_relative_to(workdir.resolve()):
            raise InternalError(
                f"Stage {stage!r} gave {source} for slot {slot!r}, which lies outside its "
                "working folder. Stage developer: write outputs below context.workdir."
            )
        if not source.exists():
            raise InternalError(f"Stage {stage!r} gave {source} for slot {slot!r}: no such file.")
        try:
            digest = digest_path(source)
        except InputError as error:
            raise InternalError(
                f"Stage {stage!r} gave a folder for slot {slot!r}: {error}"
            ) from error
        if digest != artifact.digest:
            raise InternalError(
                f"Stage {stage!r} changed {source.name} after describing it for slot {slot!r}. "
                "Stage developer: make the Artifact when the file is complete."
            )
        suffix = source.suffix
        self._place(source, self._object_path(digest, suffix), digest)
        return OutputRecord(
            kind=artifact.kind,
            digest=digest,
            suffix=suffix,
            signature=artifact.signature,
            metadata=artifact.metadata,
            precision=artifact.precision,
        )

    def _place(self, source: Path, destination: Path, digest: str) -> None:
        destination.parent.mkdir(exist_ok=True)
        if has_digest(destination, digest):
            return
        sync_tree(source)
        for file in (source, *source.rglob("*")):
            if file.is_file():
                file.chmod(0o444)
        if destination.is_dir() or (source.is_dir() and destination.exists()):
            # Damaged; folders cannot be replaced in one step.
            destination.rename(source.with_name(f"{source.name}.damaged"))
        try:
            source.replace(destination)
        except OSError:
            # Another process may have put the same folder there in the meantime.
            if not has_digest(destination, digest):
                raise
        sync_path(destination.parent)

    def _fault(self, output: OutputRecord) -> str:
        path = self._object_path(output.digest, output.suffix)
        if not path.exists():
            return f"the artifact {path.name} is missing from the store"
        try:
            digest = digest_path(path)
        except (OSError, InputError) as error:
            return f"the artifact {path.name} cannot be read ({error})"
        return "" if digest == output.digest else f"the artifact {path.name} is damaged"

    def _record_path(self, key: str) -> Path:
        return self._runs / f"{key}.json"

    def _object_path(self, digest: str, suffix: str) -> Path:
        return self._objects / digest[:2] / f"{digest}{suffix}"

    def _explained(self, action: str) -> AbstractContextManager[None]:
        return os_errors_explained(action, self.root)


def _damage(where: str, reason: str) -> Note:
    return Note(level="warning", where=where, text=f"{reason}; the step is done again")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
