"""Why model folders are verified before MLflow sees them: MLflow runs what Baton refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from baton.errors import RegistryRefused
from baton.keys import signing_key
from baton.registry.manifest import public_key, verify


def test_mlflow_runs_the_loader_module_that_is_refused_here(tmp_path: Path) -> None:
    folder, marker = tmp_path / "model", tmp_path / "marker"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: evil, code: code}}\n")
    signing_key(tmp_path / "keys")
    with pytest.raises(RegistryRefused, match="folder of code"):
        verify(folder, public_key(tmp_path / "keys"))
    assert not marker.exists()

    script = "import sys, mlflow.pyfunc; mlflow.pyfunc.load_model(sys.argv[1])"
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, "-c", script, str(folder)]
    subprocess.run(command, env=environment, cwd=tmp_path, check=False, capture_output=True)
    assert marker.exists(), "MLflow's switch has become a boundary: say so in manifest.py"
