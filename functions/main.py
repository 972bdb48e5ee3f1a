"""Entry points of the functions: `functions-framework --source functions/main.py --target NAME` serves one of them.

The framework loads this module and gets a WSGI application that bypasses its own router and hooks (see `Application`).
The stores that the target needs are opened while the module loads, by one thread; what the target does not need is not
imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache

import click
import flask
from flask import Request, Response

from cloud_executor import composition
from cloud_executor.access.quotas import Quotas
from cloud_executor.json_logging import configure_logging
from cloud_executor.settings import GOOGLE, OPEN, SHORT_NONCE, TOKEN, InvalidSetting, Settings, check_reachable
from functions.access.access import Access
from functions.access.reach import is_reachable
from functions.application import Application, Routes
from functions.transport.origins import ANY, OriginPolicy
from functions.transport.request_trace import traced

_settings = Settings.from_env(os.environ)
_IN_CLOUD_RUN = "K_SERVICE" in os.environ
configure_logging("functions", _settings.project, deployment=_settings.deployment)
for _variable, _nonce in (("EXECUTOR_NONCE", _settings.nonce), ("EXECUTOR_WORKER_NONCE", _settings.worker_nonce)):
    if _nonce is not None and len(_nonce) < SHORT_NONCE:
        logging.getLogger(__name__).warning(
            "%s has fewer than %d characters, so it may be guessed; use a longer random secret", _variable, SHORT_NONCE
        )


def blob(request: Request) -> Response:
    """Serve the blob API."""
    return _application("blob").respond(request)


def executor(request: Request) -> Response:
    """Serve the executor API and the dashboard."""
    return _application("executor").respond(request)


def api(request: Request) -> Response:
    """Serve both APIs and the dashboard."""
    return _application("api").respond(request)


def sweep(request: Request) -> Response:
    """Run the sweep; called by a scheduler. `POST /leave` removes the machine of an idle worker."""
    return _application("sweep").respond(request)


def retention(request: Request) -> Response:
    """Delete old jobs and blobs; called by a scheduler."""
    return _application("retention").respond(request)


def dead_letter(request: Request) -> Response:
    """Record a message that was delivered too often; called by a push subscription."""
    return _application("dead_letter").respond(request)


@cache
def _jobs() -> composition.Jobs:
    return composition.open_jobs(_settings)


@cache
def _quotas() -> Quotas:
    return composition.open_quotas(_settings)


@cache
def _access() -> Access:
    return Access(
        is_open=OPEN in _settings.auth,
        nonce=_settings.nonce,
        worker_nonce=_settings.worker_nonce,
        tokens=composition.open_tokens(_settings) if TOKEN in _settings.auth else None,
        admin_token=_settings.admin_token,
        identities=composition.open_identities(_settings) if GOOGLE in _settings.auth else None,
        users=_settings.users,
        admins=_settings.admins,
        allow_delete=_settings.allows_deletion,
        quotas=_quotas(),
        proxies=int(_IN_CLOUD_RUN) if _settings.proxies is None else _settings.proxies,
    )


def _blob_routes() -> Routes:
    from functions.blob.routes import BlobRoutes

    is_server = click.get_current_context(silent=True) is not None
    blobs = composition.open_blobs(_settings, prepared=is_server)
    downloads = composition.open_downloads(_settings, blobs)
    return BlobRoutes(
        blobs,
        downloads,
        _settings.allow_list_all,
        _access(),
        composition.open_grants(_settings),
        _quotas(),
        _settings.inline_limit,
        _settings.largest_zip,
    )


def _executor_routes() -> Routes:
    from functions.executor.routes import ExecutorRoutes
    from functions.transport.waits import WAITS

    jobs = _jobs()
    return ExecutorRoutes(
        jobs.clients,
        jobs.external_workers,
        _access(),
        _settings.pools,
        WAITS,
        jobs.stats,
        _quotas(),
        jobs.waiting_line,
    )


def _token_routes() -> Routes:
    from functions.access.token_routes import TokenRoutes

    return TokenRoutes(_access())


def _quota_routes() -> Routes:
    from functions.access.quota_routes import QuotaRoutes

    return QuotaRoutes(_access(), _quotas(), _jobs().store)


def _dashboard_routes() -> Routes:
    from functions.dashboard.routes import DashboardRoutes

    return DashboardRoutes()


def _sweep_route() -> Routes:
    from functions.sweep_route import SweepRoute

    return SweepRoute(_jobs().sweep, _jobs().stats)


def _retention_route() -> Routes:
    from functions.retention_route import RetentionRoute

    if _settings.keep_jobs is None:
        raise InvalidSetting(
            "EXECUTOR_KEEP_JOBS must be set to a number of days, because the function retention deletes data."
        )
    return RetentionRoute(composition.open_collector(_settings), _settings.keep_jobs)


def _leave_route() -> Routes:
    from functions.leave_route import LeaveRoute, Leaving

    groups = composition.open_instance_groups(_settings)
    if groups is None:
        return LeaveRoute(None)
    tokens = composition.open_identity_tokens(_settings.leave_audience)
    return LeaveRoute(Leaving(groups, _settings.project or "", _settings.worker_region or "", tokens.verified))


def _dead_letter_route() -> Routes:
    from functions.dead_letters import DeadLetterRoute, Pusher

    push = _settings.push
    pusher = None if push is None else Pusher(push.account, composition.open_identity_tokens(push.audience).verified)
    return DeadLetterRoute(_jobs().dead_letters, pusher)


_ROUTES: dict[str, tuple[Callable[[], Routes], ...]] = {
    "blob": (_blob_routes,),
    "executor": (_executor_routes, _token_routes, _quota_routes, _dashboard_routes),
    "api": (_blob_routes, _executor_routes, _token_routes, _quota_routes, _dashboard_routes),
    "sweep": (_leave_route, _sweep_route),
    "retention": (_retention_route,),
    "dead_letter": (_dead_letter_route,),
}


def _is_reachable() -> bool:
    """Whether other machines may reach the server, as far as it knows its address.

    The address is an option of `functions.serve` and of functions-framework. Other WSGI servers do not tell theirs.
    """
    context = click.get_current_context(silent=True)
    host = None if context is None else context.params.get("host")
    return _IN_CLOUD_RUN or host is None or is_reachable(str(host))


@cache
def _application(entry_point: str) -> Application:
    # A page that resolves its own name to this server gains nothing if the server needs credentials.
    hosts = _settings.allowed_hosts if OPEN in _settings.auth else {ANY}
    origins = OriginPolicy(hosts, _settings.allowed_origins, _settings.nonce, _settings.worker_nonce)
    return Application(origins, *(open_routes() for open_routes in _ROUTES[entry_point]))


_target = flask.current_app.name
if _target in ("blob", "executor", "api") and _is_reachable():
    check_reachable(_settings)
_wsgi = _application(_target) if _target in _ROUTES else flask.current_app.wsgi_app
flask.current_app.wsgi_app = traced(_wsgi)  # type: ignore[assignment, method-assign]  # Flask documents this assignment
