"""The Python API: `from studio.services import open_studio`."""

from studio.services.studio import open_studio as open_studio
