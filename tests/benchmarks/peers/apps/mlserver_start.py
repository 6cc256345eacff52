"""MLServer with adaptive batching and one worker process."""

import json
import os
import sys
import tempfile
from pathlib import Path

from shared import BATCH, PORT, WAIT_MS, free_port


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mlserver-"))
    settings = {
        "host": "127.0.0.1",
        "http_port": PORT,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 1,
        "debug": False,
        "environments_dir": str(folder / "environments"),
    }
    model = {
        "name": "m",
        "implementation": "mlserver_model.Model",
        "max_batch_size": BATCH,
        "max_batch_time": WAIT_MS / 1000,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.chdir(folder)
    command = str(Path(sys.executable).with_name("mlserver"))
    os.execv(command, [command, "start", str(folder)])


if __name__ == "__main__":
    main()
