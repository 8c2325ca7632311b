"""Who may use the local services: a token for Ray, an account for MLflow; made once, for their owner only.

Everything lies in one folder (.service/), each file with mode 600:

    ray_token          whoever has it may run any code as Ray's user
    mlflow_password    of MLflow's account `admin`
    mlflow_key         signs MLflow's forms
    mlflow_auth.ini    MLflow's settings of basic auth
    environment        all a person's shell needs: `. .service/environment`
"""

import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

ADMIN = "admin"
AUTH_SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{accounts}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True)
class Access:
    """The secrets in `folder`; MLflow keeps its accounts in the database file `accounts`."""

    folder: Path
    accounts: Path

    def make(self) -> None:
        """Write what is missing; existing secrets stay, since accounts and open shells hold them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("ray_token", "mlflow_password", "mlflow_key"):
            if not (self.folder / name).exists():
                self._write(name, secrets.token_urlsafe(32))
        self._write("mlflow_auth.ini", AUTH_SETTINGS.format(accounts=self.accounts, admin=ADMIN))

    def token(self) -> str:
        """Ray's token; empty before `make`."""
        return self._read("ray_token")

    def for_services(self) -> dict[str, str]:
        """What only the services themselves need."""
        return {
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "mlflow_auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self._read("mlflow_password"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self._read("mlflow_key"),
        }

    def for_clients(self, *, dashboard: str, mlflow: str) -> dict[str, str]:
        """What jobs and people need to reach the services at these addresses."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "ray_token"),
            "RAY_API_SERVER_ADDRESS": dashboard,
            "MLFLOW_TRACKING_URI": mlflow,
            "MLFLOW_TRACKING_USERNAME": ADMIN,
            "MLFLOW_TRACKING_PASSWORD": self._read("mlflow_password"),
        }

    def write_environment(self, variables: dict[str, str]) -> Path:
        """A file for a shell to source."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        return self._write("environment", "".join(lines))

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def _write(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.unlink(missing_ok=True)  # a file that others could read stays open to them under its new content
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
        return path
