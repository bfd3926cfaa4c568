"""The one error tree. A message says what is wrong, which value it was, and what to do.

TrainwrightError
├── InvalidSetting          a setting, flag or parameter that cannot be used
├── InvalidData             data that cannot be read, or that contradicts its schema
├── InvalidModule           a model module that does not keep the contract
├── UserCodeError           an exception raised inside the user's own code
├── TrainingFailed          a training run that ended without a model
├── BudgetExceeded          a result over the limits it was given
├── ServingUnavailable      a model server that cannot be started or reached
├── DeploymentRejected      a version that failed its golden requests and was withdrawn
├── ComparisonOutdated      a model whose comparison with the live version no longer holds
├── InvalidPipeline         a spec that cannot be read, compiled or executed
├── RunNotFound             a run, task or artifact that the store does not hold
├── RunFailed               a run that ended without success
└── TargetUnavailable       a remote target that refuses or cannot be reached
"""


def first_line(error: BaseException) -> str:
    """What an error says in one line, for a sentence of ours; libraries put stacks and advice behind it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class TrainwrightError(Exception):
    """Base of all errors that a person can act on; the command line prints them without a traceback.

    `exit_code` is 2 where what was given cannot be used, so nothing was started, and 1 where something that ran failed.
    `user_traceback` is the user's frames and the exception, ready to print, where it was raised below the user's code.
    `stale_input` names an input of the step that no longer holds: whatever gave it must run again first.
    """

    exit_code = 1
    user_traceback: str = ""
    stale_input: str = ""


class InvalidSetting(TrainwrightError):
    """A setting, flag or parameter that cannot be used."""

    exit_code = 2


class InvalidData(TrainwrightError):
    """Data that cannot be read, or that contradicts its schema."""

    exit_code = 2


class InvalidModule(TrainwrightError):
    """A model module that does not keep the contract."""

    exit_code = 2


class UserCodeError(TrainwrightError):
    """An exception raised inside the user's own code.

    Args:
        message: One line: what was being called, and the exception.
        user_traceback: The user's frames and the exception, ready to print; empty when there is none.
    """

    exit_code = 2

    def __init__(self, message: str, *, user_traceback: str = "") -> None:
        super().__init__(message)
        self.user_traceback = user_traceback


class TrainingFailed(TrainwrightError):
    """A training run that ended without a model."""


class BudgetExceeded(TrainwrightError):
    """A result over the limits it was given."""


class ServingUnavailable(TrainwrightError):
    """A model server that cannot be started or reached."""


class DeploymentRejected(TrainwrightError):
    """A version that failed its golden requests and was withdrawn."""


class ComparisonOutdated(TrainwrightError):
    """A model whose comparison with the live version no longer holds.

    Args:
        message: What is live now, and what the model was compared with.
        stale_input: The step's input that said what the model was compared with.
    """

    def __init__(self, message: str, *, stale_input: str) -> None:
        super().__init__(message)
        self.stale_input = stale_input


class InvalidPipeline(TrainwrightError):
    """A spec that cannot be read, compiled or executed."""

    exit_code = 2


class RunNotFound(TrainwrightError):
    """A run, task or artifact that the store does not hold."""

    exit_code = 2


class RunFailed(TrainwrightError):
    """A run that ended without success."""


class TargetUnavailable(TrainwrightError):
    """A remote target that refuses or cannot be reached."""
