"""spec.database.backup: what it refuses, its objects, what is lost and kept, what its pod reports, BackedUp."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from chatoperator.api.parse import parse
from chatoperator.conditions import backed_up, conditions
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.desired import backup
from chatoperator.desired.manifests import render
from chatoperator.errors import SpecError
from chatoperator.metadata import owner
from chatoperator.observed import Answer, Observed
from chatoperator.parts.backup import usersecrets
from chatoperator.parts.database import statefulset
from chatoperator.parts.losses import NOTHING_LOST, HeldContent, find_losses
from chatoperator.probes.parsing import parse_backup, parse_report
from chatoperator.reconcile.cleanup import undesired
from chatoperator.reconcile.figures import figures
from chatoperator.reconcile.touch import stale_mounts
from chatoperator.reports import (
    AgentReport,
    ArchiveReport,
    BackupError,
    BackupReport,
    MadeBackup,
    RepositoryReport,
    VerifyReport,
)
from tests.support.chatclusters import NOW, THREE, body, cluster, desired, pod, secret

if TYPE_CHECKING:
    from chatoperator.desired.backup import DesiredBackup
    from chatoperator.parts.losses import Losses

S3 = {"bucket": "chats", "region": "eu-central-1", "endpoint": "s3.example.com", "secretName": "store"}
AZURE = {"account": "chats", "container": "demo", "secretName": "store"}
GCS = {"bucket": "chats", "secretName": "store"}
VOLUME: dict[str, Any] = {"volume": {}}


def backed(repository: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A spec with backups."""
    return {"database": {"backup": {"repository": VOLUME if repository is None else repository, **more}}}


def test_wal_may_hold_more_than_backups_need() -> None:
    spec = cluster(database={**backed()["database"], "parameters": {"wal_level": "logical"}})
    assert spec.database.parameters == {"wal_level": "logical"}


def restored(**fields: Any) -> dict[str, Any]:
    return {"database": {"restore": fields}}


THEIRS = {"s3": S3, "encryption": {"secretName": "key"}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"database": {"backup": {}}}, "backup.repository"),
        (backed({}), "backup.repository.volume"),
        (backed({"volume": {}, "s3": S3}), "backup.repository.s3"),
        (backed({"volume": {"size": "big"}}), "backup.repository.volume.size"),
        (backed({"s3": {**S3, "secretName": None}}), "backup.repository.s3.secretName"),
        (backed({"s3": {**S3, "endpoint": "https://s3.example.com"}}), "backup.repository.s3.endpoint"),
        (backed({"s3": {**S3, "endpoint": "s3.example.com:70000"}}), "backup.repository.s3.endpoint"),
        (backed({"s3": {**S3, "path": "chats"}}), "backup.repository.s3.path"),
        (backed({"s3": {**S3, "bucket": "a b"}}), "backup.repository.s3.bucket"),
        (backed({"s3": {**S3, "region": "eu\nrepo1-path=/"}}), "backup.repository.s3.region"),
        (backed({"s3": {**S3, "uriStyle": "path"}}), "backup.repository.s3.uriStyle"),
        (backed({"azure": {**AZURE, "endpoint": "x:0"}}), "backup.repository.azure.endpoint"),
        (backed(schedule={"full": "daily"}), "backup.schedule.full"),
        (backed(schedule={"incremental": "0 25 * * *"}), "backup.schedule.incremental"),
        (backed(schedule={"verify": "0 0 31 2 *"}), "backup.schedule.verify"),
        (backed(schedule={"full": "0 1 * * 0 *"}), "backup.schedule.full"),
        (backed(retention={"fullBackups": 0}), "backup.retention.fullBackups"),
        (backed(archiveTimeoutSeconds=5), "backup.archiveTimeoutSeconds"),
        (backed(encryption={"secretName": "A"}), "backup.encryption.secretName"),
        (backed(drill={"schedule": "0 0 31 2 *"}), "backup.drill.schedule"),
        (backed(drill={"size": "big"}), "backup.drill.size"),
        (backed(drill={"timeoutSeconds": 59}), "backup.drill.timeoutSeconds"),
        (backed(resources={"limits": {"memory": "much"}}), "backup.resources.limits.memory"),
        ({"database": {**backed()["database"], "external": {"secretName": "theirs"}}}, "backup"),
        ({"database": {**backed()["database"], "parameters": {"archive_mode": "off"}}}, "parameters.archive_mode"),
        ({"database": {**backed()["database"], "parameters": {"wal_level": "minimal"}}}, "parameters.wal_level"),
        (restored(), "restore.from"),
        (restored(**{"from": {}}), "restore.from.chatCluster"),
        (restored(**{"from": {"chatCluster": {"name": "a"}, "repository": THEIRS}}), "restore.from.chatCluster"),
        (restored(**{"from": {"repository": {"s3": S3}}}), "restore.from.repository.encryption.secretName"),
        (restored(**{"from": {"repository": {**VOLUME, "encryption": {"secretName": "key"}}}}),
         "restore.from.repository.s3"),
        (restored(**{"from": {"chatCluster": {"name": "a"}}, "targetTime": "2026-02-30T10:00:00Z"}),
         "restore.targetTime"),
        (restored(**{"from": {"chatCluster": {"name": "a"}}, "targetTime": "2026-02-03T10:00:00"}),
         "restore.targetTime"),
    ],
)  # fmt: skip
def test_wrong_backups_name_their_field_and_a_remedy(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(body(**spec))
    assert refused.value.field == f"database.{field}"
    assert refused.value.remedy


def test_the_least_backup_has_every_default() -> None:
    spec = cluster(**backed()).database.backup
    assert spec is not None
    assert (spec.repository.volume.size if spec.repository.volume else None) == "20Gi"
    assert (spec.schedule.full, spec.schedule.incremental, spec.schedule.verify) == (
        "0 1 * * 0",
        "0 1 * * 1-6",
        "0 4 * * *",
    )
    assert (spec.retention.full_backups, spec.archive_timeout_seconds, spec.suspended) == (2, 60, False)


# What is made once.

NO_CLAIM = Observed({}, ())
KEY = ("Secret", "demo-backup-key")
CLAIM = ("PersistentVolumeClaim", "demo-backup-data")
BOUND = {"metadata": {"uid": "1-claim"}, "spec": {"volumeName": "pv", "resources": {"requests": {"storage": "40Gi"}}}}
REMEMBERED = {
    "irreplaceable": [
        {"kind": KEY[0], "name": KEY[1], "uid": "1-key"},
        {"kind": CLAIM[0], "name": CLAIM[1], "uid": "1-claim"},
    ]
}


def decided(
    observed: Observed, losses: Losses = NOTHING_LOST, spec: dict[str, Any] | None = None, **annotations: str
) -> DesiredBackup:
    raw = body(**(spec or backed()))
    raw["metadata"]["annotations"] = {f"chatcluster.io/{name}": value for name, value in annotations.items()}
    numbers = itertools.count()
    made = backup.decide(
        parse(raw),
        raw,
        observed,
        losses,
        salt="key",
        now=NOW,
        new_secret=lambda: f"secret {next(numbers)}",
    )
    assert made is not None
    return made


def test_a_passphrase_is_made_once_and_the_admins_own_never() -> None:
    assert decided(NO_CLAIM).credentials.passphrase == "secret 0"
    held = Observed({KEY: secret(KEY[1], passphrase="old")}, ())
    assert decided(held).credentials.passphrase == "old"
    assert decided(held, spec=backed(encryption={"secretName": "mine"})).credentials.passphrase is None


@pytest.mark.parametrize("remembers", [True, False])
def test_a_lost_passphrase_is_restored_or_missed_and_never_replaced(*, remembers: bool) -> None:
    raw, spec = {**body(**backed()), "status": REMEMBERED}, cluster(**backed())
    observed = Observed({CLAIM: BOUND}, ())
    memory = HeldContent("key", None, frozenset(), "old") if remembers else None
    losses = find_losses(spec, raw, observed, memory)
    assert decided(observed, losses).credentials.passphrase == ("old" if remembers else "")
    made = desired(spec, losses=losses, backup=decided(observed, losses), withheld=losses.withheld)
    names = {(one["kind"], one["metadata"]["name"]) for one in render(made)}
    assert (KEY in names) is remembers
    assert (("StatefulSet", "demo-backup") in names) is remembers
    assert ("StatefulSet", "demo-postgres") in names
    inputs = ConditionInputs(raw, observed, Answer(ok=True, message=""), NOW, desired=made)
    by_type = {one.type: one for one in conditions(inputs)}
    assert by_type["DataSafe"].reason == ("Kept" if remembers else "PassphraseLost")
    assert by_type["BackedUp"].reason == ("NoBackupYet" if remembers else "KeyMissing")


def test_a_lost_repository_is_not_begun_anew_before_an_admin_allows_it() -> None:
    raw, spec = {**body(**backed()), "status": REMEMBERED}, cluster(**backed())
    raw["status"] = {"irreplaceable": REMEMBERED["irreplaceable"][1:]}
    losses = find_losses(spec, raw, NO_CLAIM, None)
    made = desired(spec, losses=losses, withheld=losses.withheld)
    assert not {CLAIM, ("StatefulSet", "demo-backup")} & {
        (one["kind"], one["metadata"]["name"]) for one in render(made)
    }
    inputs = ConditionInputs(raw, NO_CLAIM, Answer(ok=True, message=""), NOW, desired=made)
    by_type = {one.type: one for one in conditions(inputs)}
    assert (by_type["DataSafe"].reason, by_type["BackedUp"].reason) == ("RepositoryLost", "RepositoryUnavailable")
    assert "begin-anew=1-claim" in by_type["DataSafe"].message
    raw["metadata"]["annotations"] = {"chatcluster.io/begin-anew": "1-claim"}
    assert find_losses(spec, raw, NO_CLAIM, None) == NOTHING_LOST


def test_a_claim_never_shrinks_below_its_volume() -> None:
    observed = Observed({CLAIM: BOUND}, ())
    made = {
        (one["kind"], one["metadata"]["name"]): one
        for one in render(desired(cluster(**backed()), backup=decided(observed)))
    }
    assert made[CLAIM]["spec"]["resources"]["requests"]["storage"] == "40Gi"


def test_one_certificate_names_both_sides_and_outlasts_a_change_of_the_instances() -> None:
    first = decided(NO_CLAIM).credentials.pair
    held = secret(
        "demo-backup-tls",
        **{
            "ca.crt": first.authority.certificate,
            "ca.key": first.authority.key,
            "tls.crt": first.server.certificate,
            "tls.key": first.server.key,
        },
    )
    observed = Observed({("Secret", "demo-backup-tls"): held}, ())
    several = {"database": {"instances": 5, **backed()["database"]}}
    assert decided(observed, spec=several).credentials.pair == first
    loaded = x509.load_pem_x509_certificate(first.server.certificate.encode())
    assert loaded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "demo"
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {
        "demo-backup.chat.svc",
        *(f"demo-backup-{number}.chat.svc" for number in range(1, 6)),
    }


def test_no_secret_is_in_the_configuration() -> None:
    made = desired(cluster(**backed()))
    texts = [json.dumps(one) for one in render(made) if one["kind"] != "Secret"]
    passphrase = made.backup.credentials.passphrase if made.backup is not None else None
    assert passphrase
    assert not [text for text in texts if passphrase in text]


def test_turning_archiving_on_restarts_postgresql_and_suspending_it_does_not() -> None:
    def restarts(**spec: Any) -> str:
        return statefulset.config_digest(cluster(**spec), volume_size="10Gi")

    assert restarts() != restarts(**backed())
    assert restarts(**backed()) == restarts(**backed(suspended=True, archiveTimeoutSeconds=30))
    discards = statefulset.parameters(cluster(**backed(suspended=True)), volume_size="10Gi")
    assert (discards["archive_mode"], discards["archive_command"]) == ("on", "/bin/true")


def test_each_instance_has_a_service_and_only_the_backup_pod_the_repository() -> None:
    spec = cluster(database={"instances": 3, **backed()["database"]})
    made = render(desired(spec, replication=THREE))
    services = {one["metadata"]["name"]: one["spec"] for one in made if one["kind"] == "Service"}
    pods = {services[f"demo-backup-{n}"]["selector"]["statefulset.kubernetes.io/pod-name"] for n in (1, 2, 3)}
    assert pods == {"demo-postgres-0", "demo-postgres-2-0", "demo-postgres-3-0"}
    mounting = {
        one["metadata"]["name"]
        for one in made
        if "demo-backup-data" in json.dumps(one.get("spec", {})) and one["kind"] == "StatefulSet"
    }
    assert mounting == {"demo-backup"}
    config = next(one for one in made if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "demo-backup"))
    assert "pg3-host=demo-backup-3.chat.svc" in config["data"]["pgbackrest.conf"]
    assert "backup-standby=prefer" in config["data"]["pgbackrest.conf"]


def test_a_request_reaches_the_pod_at_once() -> None:
    pods = (pod("demo-backup-0", "backup"),)
    spec = cluster(**backed())
    first = desired(spec)
    seen = stale_mounts(first, Observed({}, pods), ())["demo-backup-0"]
    again = desired(spec, backup=decided(NO_CLAIM, backup="2026-11-30T12.00.00Z"))
    assert stale_mounts(again, Observed({}, pods), ())["demo-backup-0"] != seen
    config = next(
        one for one in render(again) if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "demo-backup")
    )
    assert json.loads(config["data"]["backup.json"])["request"] == "2026-11-30T12.00.00Z"
    assert decided(NO_CLAIM, backup="x" * 500).requests.backup is None


def test_without_backups_their_pod_goes_and_what_was_made_once_stays() -> None:
    with_backups = render(desired(cluster(**backed())))
    there = {}
    for one in with_backups:
        raw = {**one, "metadata": {**one["metadata"], "uid": "1", "ownerReferences": [owner("demo", "0000-demo")]}}
        there[one["kind"], one["metadata"]["name"]] = raw
    without = desired(cluster())
    names = {(one["kind"], one["metadata"]["name"]) for one in render(without)}
    gone = undesired(without, Observed(there, ()), names)
    assert set(gone) == {
        ("StatefulSet", "demo-backup"),
        ("Service", "demo-backup"),
        ("Service", "demo-backup-1"),
        ("NetworkPolicy", "demo-backup"),
    }


# The admin's own Secrets.


@pytest.mark.parametrize(
    ("spec", "secrets", "fault"),
    [
        (backed({"s3": S3}), {}, "has no key access-key-id and secret-access-key"),
        (backed({"s3": S3}), {"store": {"access-key-id": "a"}}, "has no key secret-access-key"),
        (backed({"gcs": GCS}), {"store": {}}, "has no key key.json"),
        (backed({"azure": AZURE}), {"store": {}}, "has no key account-key or sas-token"),
        (backed({"azure": AZURE}), {"store": {"sas-token": "a"}}, None),
        (
            backed({"s3": {**S3, "caSecretName": "ca"}}),
            {"store": {"access-key-id": "a", "secret-access-key": "b"}, "ca": {"ca.crt": "no certificate"}},
            "has no PEM certificates in key ca.crt",
        ),
        (backed({"s3": S3}), {"store": {"access-key-id": "a", "secret-access-key": "b"}}, None),
    ],
)
def test_a_secret_of_the_store_that_lacks_something_is_named(
    spec: dict[str, Any], secrets: dict[str, dict[str, str]], fault: str | None
) -> None:
    given = cluster(**spec).database.backup
    assert given is not None
    named = {name: secret(name, **content) for name, content in secrets.items()}
    found = usersecrets.judge(given, named, salt="key").fault
    assert (fault in found if found is not None else False) if fault is not None else found is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({}, "is missing or has no key passphrase"),
        ({"passphrase": "short"}, "at least 16 characters"),
        ({"passphrase": "long enough, surely"}, None),
    ],
)
def test_an_admins_passphrase_is_checked(content: dict[str, str], fault: str | None) -> None:
    given = cluster(**backed(encryption={"secretName": "mine"})).database.backup
    assert given is not None
    found = usersecrets.judge(given, {"mine": secret("mine", **content)}, salt="key").key_fault
    assert (fault in found if found is not None else False) if fault is not None else found is None


def test_azures_key_is_of_the_type_that_the_secret_has() -> None:
    spec = cluster(**backed({"azure": AZURE}))
    assert spec.database.backup is not None
    judged = usersecrets.judge(spec.database.backup, {"store": secret("store", **{"sas-token": "a"})}, salt="key")
    made = desired(spec)
    assert made.backup is not None
    made = dataclasses.replace(made, backup=dataclasses.replace(made.backup, secrets=judged))
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in render(made)}
    assert "repo1-azure-key-type=sas" in by_name["ConfigMap", "demo-backup"]["data"]["pgbackrest.conf"]
    (container,) = by_name["StatefulSet", "demo-backup"]["spec"]["template"]["spec"]["containers"]
    sources = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]}
    assert sources["PGBACKREST_REPO1_AZURE_KEY"] == {"name": "store", "key": "sas-token"}


def test_a_restore_takes_whichever_key_of_azure_there_is_and_starts_without_one() -> None:
    source = {"azure": AZURE, "encryption": {"secretName": "key"}}
    by_name = {
        (one["kind"], one["metadata"]["name"]): one
        for one in render(desired(cluster(**restored(**{"from": {"repository": source}}))))
    }
    pod = by_name["StatefulSet", "demo-postgres"]["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    variables = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one}
    assert variables["PGBACKREST_REPO1_AZURE_KEY"] == {"name": "store", "key": "account-key", "optional": True}
    assert variables["AZURE_SAS_TOKEN"] == {"name": "store", "key": "sas-token", "optional": True}


# The report, and the condition.

LAST = MadeBackup("20261122-010000F", "full", "2026-11-22T01:10:00Z")
GOOD = BackupReport(
    RepositoryReport(reachable=True),
    (LAST,),
    oldest_restorable="2026-11-22T01:10:00Z",
    newest_archived="2026-11-22T11:58:59Z",
    last_verify=VerifyReport("2026-11-22T04:00:00Z", ok=True),
)


def judged(
    report: BackupReport | None, archive: ArchiveReport | None = None, spec: dict[str, Any] | None = None, **given: Any
) -> tuple[str, str, str]:
    """Status, reason and message of BackedUp."""
    agent = AgentReport(None, None, None, archive=archive)
    observed = Observed({}, given.pop("pods", ()), agent=agent, backup=report)
    made = desired(cluster(**(spec or backed())), **given.pop("desired", {}))
    raw = {**body(), "status": {"conditions": given.pop("held", [])}}
    inputs = ConditionInputs(raw, observed, Answer(ok=True, message=""), given.pop("now", NOW), desired=made, **given)
    found = next(one for one in conditions(inputs) if one.type == "BackedUp")
    return found.status, found.reason, found.message


HELD = [{"type": "BackedUp", "status": "True", "reason": "BackedUp", "message": "all is well"}]
LATE = dt.datetime(2026, 11, 23, 4, 0, tzinfo=dt.UTC)


def changed(**fields: Any) -> BackupReport:
    return dataclasses.replace(GOOD, **fields)


@pytest.mark.parametrize(
    ("report", "given", "reason"),
    [
        (GOOD, {}, "BackedUp"),
        (None, {}, "NoBackupYet"),
        (changed(backups=()), {}, "NoBackupYet"),
        (None, {"held": HELD}, "RepositoryUnavailable"),
        (GOOD, {"spec": backed(suspended=True)}, "Suspended"),
        (GOOD, {"archive": ArchiveReport(failing=True, waiting=9, lag_seconds=121)}, "ArchiveFailing"),
        (GOOD, {"archive": ArchiveReport(failing=True, waiting=1, lag_seconds=20)}, "BackedUp"),
        (GOOD, {"archive": ArchiveReport(failing=False, waiting=900, lag_seconds=601)}, "ArchiveBehind"),
        (GOOD, {"archive": ArchiveReport(failing=False, waiting=2, lag_seconds=30)}, "BackedUp"),
        (changed(repository=RepositoryReport(reachable=False, error="timeout")), {}, "RepositoryUnavailable"),
        (changed(last_backup_error=BackupError("2026-11-22T01:00:00Z", "x", "wrong_key")), {}, "WrongKey"),
        (changed(last_backup_error=BackupError("2026-11-22T01:00:00Z", "no space", "full")), {}, "BackupFailed"),
        (changed(backups=(dataclasses.replace(LAST, error=True),)), {}, "BackupFailed"),
        (changed(last_verify=VerifyReport("2026-11-22T04:00:00Z", ok=False, text="gone")), {}, "VerifyFailed"),
        (GOOD, {"now": LATE}, "BackupOverdue"),
        (changed(phase="backup"), {"now": LATE}, "BackedUp"),
        (GOOD, {"now": LATE - dt.timedelta(hours=2)}, "BackedUp"),
        (GOOD, {"spec": backed({"s3": S3})}, "RepositoryUnavailable"),
        (GOOD, {"spec": backed(encryption={"secretName": "mine"})}, "KeyMissing"),
    ],
)
def test_the_condition_says_whether_the_database_can_be_restored(
    report: BackupReport | None, given: dict[str, Any], reason: str
) -> None:
    status, found, message = judged(report, **given)
    assert (found, status) == (reason, "True" if reason == "BackedUp" else "False")
    assert message


def test_every_reason_of_the_condition_is_tried() -> None:
    tried = {case[2] for case in test_the_condition_says_whether_the_database_can_be_restored.pytestmark[0].args[1]}
    assert tried == {reason.name for reason in backed_up.TYPE.reasons}


def test_a_backup_pod_that_is_replaced_says_nothing_about_the_backups() -> None:
    live = {
        "metadata": {"name": "demo-backup", "generation": 2},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1},
    }
    observed = Observed({("StatefulSet", "demo-backup"): live}, ())
    raw = {**body(), "status": {"conditions": HELD}}
    inputs = ConditionInputs(raw, observed, Answer(ok=True, message=""), NOW, desired=desired(cluster(**backed())))
    found = next(one for one in conditions(inputs) if one.type == "BackedUp")
    assert (found.status, found.message) == ("True", "all is well")


def test_a_chat_without_backups_has_no_such_condition() -> None:
    inputs = ConditionInputs(body(), Observed({}, ()), Answer(ok=True, message=""), NOW, desired=desired(cluster()))
    assert "BackedUp" not in {one.type for one in conditions(inputs)}


def test_the_status_has_the_times_and_loses_what_is_over() -> None:
    raw, spec = body(**backed()), cluster(**backed())
    failed = changed(last_backup_error=BackupError("2026-11-22T01:00:00Z", "no space", "full"))
    archive = AgentReport(None, None, None, archive=ArchiveReport(failing=False, waiting=1, lag_seconds=65.2))
    first = figures(raw, Observed({}, (), agent=archive, backup=failed), desired(spec))["database"]
    assert first["backup"] == {
        "lastBackupAt": "2026-11-22T01:10:00Z",
        "lastBackupType": "full",
        "lastFullBackupAt": "2026-11-22T01:10:00Z",
        "oldestRestorableTime": "2026-11-22T01:10:00Z",
        "newestRestorableTime": "2026-11-22T11:55:00Z",
        "lastVerifiedAt": "2026-11-22T04:00:00Z",
        "lastError": "no space",
        "archiveLagSeconds": 60,
    }
    raw["status"] = {"database": first}
    second = figures(raw, Observed({}, (), agent=archive, backup=GOOD), desired(spec))["database"]
    assert second["backup"]["lastError"] is None
    silent = figures(raw, Observed({}, (), agent=archive), desired(spec))["database"]
    assert silent == first
    assert figures(raw, Observed({}, ()), desired(cluster()))["database"] is None


@pytest.mark.parametrize(
    ("oldest", "newest", "shown"),
    [
        ("2026-11-22T11:57:00Z", "2026-11-22T11:58:59Z", "2026-11-22T11:57:00Z"),
        ("2026-11-22T11:57:00Z", "2026-11-22T11:56:00Z", None),
        (None, "2026-11-22T11:58:59Z", None),
    ],
)
def test_no_time_before_the_oldest_is_shown_as_the_newest(oldest: str | None, newest: str, shown: str | None) -> None:
    report = changed(oldest_restorable=oldest, newest_archived=newest)
    database = figures(body(), Observed({}, (), backup=report), desired(cluster(**backed())))["database"]
    assert database["backup"].get("newestRestorableTime") == shown


def test_a_repository_that_was_not_read_yet_is_not_called_unavailable() -> None:
    status, reason, _ = judged(changed(repository=RepositoryReport(reachable=False)))
    assert (status, reason) == ("False", "NoBackupYet")


PAGE = {
    "phase": "idle",
    "repository": {"reachable": True, "error": ""},
    "stanza": True,
    "backups": [
        {
            "label": "20261122-010000F",
            "type": "full",
            "started": "2026-11-22T01:00:00Z",
            "stopped": "2026-11-22T01:10:00Z",
            "bytes": 0,
            "repository_bytes": 1,
            "error": False,
        }
    ],
    "oldest_restorable": "2026-11-22T01:10:00Z",
    "newest_archived": "2026-11-22T11:58:59Z",
    "last_archived_wal": "000000010000000000000002",
    "last_backup_error": None,
    "last_verify": {"at": "2026-11-22T04:00:00Z", "ok": True, "text": ""},
    "answered_request": "",
}


def test_the_report_of_the_backup_pod_is_read() -> None:
    assert parse_backup(json.dumps(PAGE)) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"repository": None},
        {"backups": [{}]},
        {"backups": [{**PAGE["backups"][0], "stopped": "yesterday"}]},  # type: ignore[index]
        {"newest_archived": "2026-11-22T11:58:59"},
        {"oldest_restorable": 7},
        {"last_verify": {"at": "x", "ok": True}},
        {"phase": []},
    ],
)
def test_what_cannot_be_a_report_is_none(change: dict[str, Any]) -> None:
    assert parse_backup(json.dumps({**PAGE, **change})) is None


def test_long_words_are_cut_and_garbage_is_none() -> None:
    error = {"at": "2026-11-22T01:00:00Z", "text": "x" * 10_000, "code": "other"}
    report = parse_backup(json.dumps({**PAGE, "last_backup_error": error}))
    assert report is not None
    assert report.last_backup_error is not None
    assert len(report.last_backup_error.text) == 500
    assert [parse_backup(page) for page in ("", "[]", "null", "{" * 100_000)] == [None] * 4


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        ({"failing": True, "waiting": 3, "lag_seconds": 70.5, "error": "no route"},
         ArchiveReport(failing=True, waiting=3, lag_seconds=70.5, error="no route")),
        ({"failing": True, "waiting": -3, "lag_seconds": 70.5}, None),
        ({"failing": True}, None),
        (None, None),
    ],
)  # fmt: skip
def test_what_the_agent_says_of_archiving_is_read(archive: Any, expected: ArchiveReport | None) -> None:
    page = {"credentials": None, "configuration": None, "refused": None, "archive": archive}
    report = parse_report(json.dumps(page))
    assert report is not None
    assert report.archive == expected
