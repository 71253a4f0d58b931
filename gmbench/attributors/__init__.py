"""Every method, as `gmbench.attributors.<folder>`: those of `baselines/` and of `methods/`.

In an installed wheel the two folders lie beside this file; in a checkout they lie at its top.
"""

from pathlib import Path

_here = Path(__file__).parent
_home = _here if (_here / "baselines").is_dir() else _here.parent.parent
METHOD_FOLDERS = (_home / "baselines", _home / "methods")
__path__ = [str(folder) for folder in METHOD_FOLDERS]
