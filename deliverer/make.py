"""Makes a target of the kind that its URL names: the only place that knows all kinds."""

from structlog.typing import FilteringBoundLogger

from common.failures import UsageError
from common.target_url import Transport, encryption, parse_target
from deliverer.maildir import MaildirTarget
from deliverer.session import SessionSettings, show_certificate, tls_context
from deliverer.smtp import SmtpTarget
from deliverer.target import Target, TargetOptions
from deliverer.transaction import Deadlines


def make_target(
    name: str,
    options: TargetOptions,
    *,
    installation: str,
    log: FilteringBoundLogger,
    deadlines: Deadlines | None = None,
) -> Target:
    """Return the target of a `[target.NAME]` section, not connected yet; raises UsageError that names the key."""
    place = f"[target.{name}]"
    try:
        url = parse_target(options.url)
    except ValueError as error:
        raise UsageError(f"{place} url: {error}") from error
    try:
        tls = encryption(url, options.tls)
    except ValueError as error:
        raise UsageError(f"{place} tls: {error}") from error
    if url.transport is Transport.MAILDIR:
        return MaildirTarget(url, options, installation=installation)
    try:
        context = tls_context(tls, options.ca)
    except OSError as error:  # ssl.SSLError is one, too
        raise UsageError(f"{place} ca: {options.ca}: {error.strerror or error}") from error
    if context is not None and options.client_cert is not None:
        try:
            show_certificate(context, options.client_cert, options.client_key)
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            raise UsageError(f"{place} client_cert: can't use {options.client_cert}: {said}") from error
    settings = SessionSettings(
        url=url,
        tls=tls,
        context=context,
        account=options.account,
        deadlines=deadlines or Deadlines(),
    )
    return SmtpTarget(settings, options, installation=installation, log=log.bind(target=name))
