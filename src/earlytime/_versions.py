"""The versions that a run names."""

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str) -> str:
    """A package's version, or that it is not installed: a folder of sources on the path is enough."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
