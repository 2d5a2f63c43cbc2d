"""The former name of `chatcluster_client`, kept for one release."""

import warnings

from chatcluster_client import *  # noqa: F403 - the same names, under the former address

warnings.warn(
    "chatserver.client is now the package chatcluster-client: import chatcluster_client instead. "
    "This name is removed in the next release.",
    DeprecationWarning,
    stacklevel=2,
)
