"""Faults that a person can fix: one line, one exit code, no traceback."""


class CharrnnError(Exception):
    """A fault outside this program. Its message is one line: what, where, and what to do."""

    exit_code = 1


class SettingsError(CharrnnError):
    """An option, a setting or a configuration file is wrong."""

    exit_code = 2


class CorpusError(CharrnnError):
    """A text cannot be read or cannot be trained on."""

    exit_code = 3


class VocabularyError(CorpusError):
    """A text holds characters that a model does not know."""


class CheckpointError(CharrnnError):
    """A run, checkpoint or model file is missing, damaged, or not ours."""

    exit_code = 3


class DamagedError(CheckpointError):
    """A file is torn, altered or not what its name says: an earlier one may still be good."""


class MissingError(CheckpointError):
    """A file is not there. It may have been there a moment ago: a training removes checkpoints."""


class DivergedError(CharrnnError):
    """Training produced infinities or NaN and did not recover."""

    exit_code = 4


class StorageError(CharrnnError):
    """A file cannot be written, or a run is in use by another process."""

    exit_code = 5


class CallbackError(CharrnnError):
    """A callback of charrnn.train, or a --log, failed; the training was saved first."""

    exit_code = 5


class StopTraining(Exception):
    """Raised by a callback to end a training: it saves after its step, and returns."""
