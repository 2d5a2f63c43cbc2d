"""The recipe: observe, parse, decide, desired, apply what differs, conditions, one status patch if changed."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from chatoperator import autoscaler, certificates, metrics, status
from chatoperator.errors import KubeError, SpecError
from chatoperator.events import event
from chatoperator.kube import CHILD_KINDS
from chatoperator.manifests import Images, Inputs, ServerTemplate, desired, migrate_job
from chatoperator.manifests.credentials import Certificate, Credentials, SelfSigned
from chatoperator.manifests.haproxy import HTTPS_PORT
from chatoperator.manifests.metadata import (
    COMPONENT_LABEL,
    CREDENTIALS_HASH_ANNOTATION,
    KIND,
    ca_secret_name,
    chatserver_secret_name,
    claim_name,
    database_secret_name,
    digest,
    instance_selector,
    part_name,
    selector,
    selector_text,
    service_host,
    tls_secret_name,
)
from chatoperator.observed import (
    DELETION_COST_ANNOTATION,
    Answer,
    Observed,
    job_state,
    leaving,
    pod,
    ready_replicas,
    rolling,
    schema_of,
    secret_text,
)
from chatoperator.probe import Target
from chatoperator.spec import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chatoperator.autoscaler import Decision, Memory
    from chatoperator.kube import Kube
    from chatoperator.manifests.metadata import Manifest
    from chatoperator.observed import Pod, Reading
    from chatoperator.probe import Prober
    from chatoperator.settings import Settings
    from chatoperator.spec import ChatCluster
    from chatoperator.workqueue import Key

APPLY_ALL_SECONDS = 600
"""Everything is applied this often even where nothing seems to differ: fields that others added to ours are undone."""

MIGRATE_RETRY_SECONDS = 60
"""A failed migrate Job is kept this long for its logs, then made anew."""

SECRET_BYTES = 32
"""256 random bits for each password and key."""

VICTIM_COST = "-100"
"""pod-deletion-cost of the servers to remove; others have none, which counts as 0."""

log = structlog.get_logger(__name__)


@dataclass
class _Applied:
    digest: str
    resource_version: str
    at: float


@dataclass
class _State:
    """What the operator remembers of one ChatCluster between reconciles. All of it can be lost at any time."""

    applied: dict[tuple[str, str], _Applied] = field(default_factory=dict)
    memory: Memory | None = None
    decision: Decision | None = None
    ticked_at: float | None = None
    ticked_generation: int | None = None
    readings: dict[str, Reading | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """One reconcile's wishes."""

    inputs: Inputs
    job_name: str | None
    migrated: bool
    version: str
    external_secret_present: bool | None


class Reconciler:
    """Brings ChatClusters to what their specs ask.

    Args:
        kube: The API server.
        prober: The running parts.
        settings: The operator's settings.
        monotonic: Seconds that never go back, for intervals.
        now: The time with its zone, for certificates and status.
    """

    def __init__(
        self,
        kube: Kube,
        prober: Prober,
        settings: Settings,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], dt.datetime],
    ) -> None:
        self._kube = kube
        self._prober = prober
        self._settings = settings
        self._monotonic = monotonic
        self._now = now
        self._states: dict[Key, _State] = {}

    async def keys(self) -> list[Key]:
        """All ChatClusters there are, for the sweep."""
        found = await self._kube.list(KIND, self._settings.watch_namespace)
        return [(raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in found]

    async def reconcile(self, key: Key) -> None:
        """Bring one ChatCluster to what its spec asks, as far as it can be done now.

        Raises:
            KubeError: The API server refused something; status says what, and the reconcile is to be tried again.
        """
        namespace, name = key
        body = await self._kube.get(KIND, namespace, name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            # Its children follow by garbage collection.
            self._forget(key)
            return
        state = self._states.setdefault(key, _State())
        observed = await self._observe(namespace, name)
        try:
            cluster = parse(body)
            plan = await self._plan(cluster, body, observed)
        except SpecError as error:
            facts = await self._facts(body, observed, spec_error=str(error))
            await self._report(body, state, observed, facts, None, None)
            return
        await self._tick(cluster, body, observed, state)
        plan = replace(plan, inputs=replace(plan.inputs, replicas=self._replicas(cluster, body, observed, state)))
        failure: KubeError | None = None
        if not cluster.paused:
            failure = await self._act(cluster, observed, plan, state)
        facts = await self._facts(body, observed, cluster=cluster, plan=plan, state=state, failure=failure)
        await self._report(body, state, observed, facts, cluster, plan)
        if failure is not None:
            raise failure

    def _forget(self, key: Key) -> None:
        if self._states.pop(key, None) is not None:
            metrics.forget(*key)
            log.info("forgotten", namespace=key[0], name=key[1])

    # Observe

    async def _observe(self, namespace: str, name: str) -> Observed:
        instance = instance_selector(name)
        *lists, pods = await asyncio.gather(
            *(self._kube.list(kind, namespace, instance) for kind in CHILD_KINDS),
            self._kube.list("Pod", namespace, instance),
        )
        children = {
            (kind, child["metadata"]["name"]): {**child, "kind": kind}
            for kind, found in zip(CHILD_KINDS, lists, strict=True)
            for child in found
        }
        # By name too: a Secret or claim whose labels were lost must never be taken for absent.
        for kind, child_name in (
            ("Secret", database_secret_name(name)),
            ("Secret", chatserver_secret_name(name)),
            ("PersistentVolumeClaim", claim_name(name)),
        ):
            if (kind, child_name) not in children:
                child = await self._kube.get(kind, namespace, child_name)
                if child is not None:
                    children[kind, child_name] = child
        return Observed(children=children, pods=tuple(pod(raw) for raw in pods))

    # Decide

    async def _plan(self, cluster: ChatCluster, body: Manifest, observed: Observed) -> _Plan:
        version, images = self._release(cluster, body)
        named = await self._named_secrets(cluster)
        external = cluster.database.external_secret_name
        external_secret = named.get(external) if external else None
        self_signed = None
        if cluster.ingress.tls_secret_name is None:
            self_signed = self._self_signed(cluster, observed)
            tls_digest: str | None = digest(self_signed.server.certificate)
        else:
            tls_digest = _tls_digest(named.get(cluster.ingress.tls_secret_name))
        claim = observed.child("PersistentVolumeClaim", claim_name(cluster.name))
        usable = not leaving(claim, cluster.uid)
        inputs = Inputs(
            images=images,
            pull_policy=self._settings.image_pull_policy,
            cluster_domain=self._settings.cluster_domain,
            credentials=_credentials(cluster, observed),
            self_signed=self_signed,
            tls_digest=tls_digest,
            https_port=_https_port(cluster, observed),
            volume_usable=usable,
            database_identity=_database_identity(external, external_secret, claim if usable else None),
            server_template=None,
            replicas=0,
        )
        job = migrate_job(cluster, inputs)
        job_name = job["metadata"]["name"] if job is not None else None
        live = observed.workload(cluster.name, "chatserver")
        migrated = job_name is not None and (
            job_state(observed.child("Job", job_name)) == "Complete" or schema_of(live) == job_name
        )
        template: ServerTemplate | None = None
        if migrated and job_name is not None:
            template = ServerTemplate(images.chatserver, job_name)
        elif live is not None:
            # What runs keeps running, and keeps being repaired, until the new image's migrations have run.
            template = ServerTemplate(_image_of(live), schema_of(live) or "")
        return _Plan(
            inputs=replace(inputs, server_template=template),
            job_name=job_name,
            migrated=migrated,
            version=version,
            external_secret_present=None if external is None else secret_text(external_secret, "dsn") is not None,
        )

    def _release(self, cluster: ChatCluster, body: Manifest) -> tuple[str, Images]:
        """The version to run and its images: those pinned in status, unless spec names another release or image."""
        held = body.get("status") or {}
        version = cluster.version or held.get("version") or self._settings.version
        if version == self._settings.version:
            images = self._settings.images
        elif version == held.get("version"):
            images = Images(**held["images"])
        else:
            raise SpecError(
                "version", f"this operator brings release {self._settings.version}; name it, or remove the field"
            )
        return version, Images(
            chatserver=cluster.chatserver.image or images.chatserver,
            postgres=cluster.database.image or images.postgres,
            haproxy=cluster.ingress.image or images.haproxy,
        )

    async def _named_secrets(self, cluster: ChatCluster) -> Mapping[str, Manifest | None]:
        """The Secrets that users provide, which carry no label of ours."""
        names = [name for name in (cluster.database.external_secret_name, cluster.ingress.tls_secret_name) if name]
        found = await asyncio.gather(*(self._kube.get("Secret", cluster.namespace, name) for name in names))
        return dict(zip(names, found, strict=True))

    def _self_signed(self, cluster: ChatCluster, observed: Observed) -> SelfSigned:
        authority = observed.child("Secret", ca_secret_name(cluster.name))
        server = observed.child("Secret", tls_secret_name(cluster.name))
        host = service_host(cluster, "ingress")
        names = (*cluster.ingress.hostnames, "localhost", "127.0.0.1", host, f"{host}.{self._settings.cluster_domain}")
        return certificates.ensure(
            _pair(authority, "ca.crt", "ca.key"), _pair(server, "tls.crt", "tls.key"), names, self._now()
        )

    async def _tick(self, cluster: ChatCluster, body: Manifest, observed: Observed, state: _State) -> None:
        """Read the servers and decide their number, every 15 s and after each change of the spec."""
        now = self._monotonic()
        due = state.ticked_at is None or now - state.ticked_at >= autoscaler.TICK_SECONDS
        if not due and state.ticked_generation == cluster.generation:
            return
        state.ticked_at, state.ticked_generation = now, cluster.generation
        servers = observed.component("chatserver")
        addresses = {server.name: server.address for server in servers if server.address and server.started}
        state.readings = await self._prober.readings(addresses)
        scaling = cluster.chatserver.scaling
        if scaling.mode != "Internal":
            state.decision, state.memory = None, None
            return
        current = self._current(cluster, body, observed)
        if state.memory is None:
            state.memory = autoscaler.start(current, now)
        live = observed.workload(cluster.name, "chatserver")
        settled = (
            live is not None
            and not rolling(live)
            and ready_replicas(live) >= current
            and not any(server.terminating for server in servers)
        )
        state.decision = autoscaler.decide(
            [_server(server, state.readings) for server in servers],
            current,
            autoscaler.Policy(
                target=cluster.chatserver.target_connections_per_server,
                min_replicas=scaling.min_replicas,
                max_replicas=scaling.max_replicas,
                stabilization_seconds=scaling.scale_down_stabilization_seconds,
            ),
            state.memory,
            now=now,
            settled=settled,
        )
        state.memory = state.decision.memory
        if state.decision.replicas != current:
            log.info(
                "scaled",
                namespace=cluster.namespace,
                name=cluster.name,
                was=current,
                now=state.decision.replicas,
                reason=state.decision.message,
            )

    def _current(self, cluster: ChatCluster, body: Manifest, observed: Observed) -> int:
        """Servers wanted so far: what the Deployment asks; after its deletion what status says it asked."""
        live = observed.workload(cluster.name, "chatserver")
        if live is not None:
            return int(live["spec"].get("replicas", 1))
        return int((body.get("status") or {}).get("desiredReplicas") or cluster.chatserver.scaling.min_replicas)

    def _replicas(self, cluster: ChatCluster, body: Manifest, observed: Observed, state: _State) -> int:
        fixed = cluster.chatserver.scaling.replicas
        if fixed is not None:
            return fixed
        return state.decision.replicas if state.decision else self._current(cluster, body, observed)

    # Act

    async def _act(self, cluster: ChatCluster, observed: Observed, plan: _Plan, state: _State) -> KubeError | None:
        """Apply what differs. A refused object does not keep the others from being repaired.

        Returns:
            The first refusal.
        """
        failures: list[KubeError] = []
        for step in (
            self._mark_victims(cluster, observed, plan, state),
            self._apply_all(cluster, observed, plan, state),
            self._refresh_credentials(cluster, observed, plan),
            self._tidy_jobs(cluster, observed, plan),
        ):
            try:
                await step
            except KubeError as error:
                failures.append(error)
        return failures[0] if failures else None

    async def _apply_all(self, cluster: ChatCluster, observed: Observed, plan: _Plan, state: _State) -> None:
        failures: list[KubeError] = []
        for manifest in desired(cluster, plan.inputs):
            key = (manifest["kind"], manifest["metadata"]["name"])
            wanted, now = digest(manifest), self._monotonic()
            live, last = observed.child(*key), state.applied.get(key)
            if (
                live is not None
                and last is not None
                and last.digest == wanted
                and last.resource_version == live["metadata"]["resourceVersion"]
                and now - last.at < APPLY_ALL_SECONDS
            ):
                continue
            try:
                applied = await self._kube.apply(manifest)
            except KubeError as error:
                failures.append(error)
                continue
            state.applied[key] = _Applied(wanted, applied["metadata"]["resourceVersion"], now)
            metrics.APPLIES.labels(kind=key[0]).inc()
            if live is None or live["metadata"]["resourceVersion"] != applied["metadata"]["resourceVersion"]:
                log.info("applied", namespace=cluster.namespace, name=cluster.name, kind=key[0], child=key[1])
        if failures:
            raise failures[0]

    async def _mark_victims(self, cluster: ChatCluster, observed: Observed, plan: _Plan, state: _State) -> None:
        """Before servers are removed, tell Kubernetes which: those with the fewest connections."""
        live = observed.workload(cluster.name, "chatserver")
        if live is None:
            return
        count = int(live["spec"].get("replicas", 1)) - plan.inputs.replicas
        servers = {server.name: server for server in observed.component("chatserver") if not server.terminating}
        if count <= 0:
            return
        connections = {name: _connections(state.readings.get(name)) for name in servers}
        chosen = autoscaler.victims(connections, count)
        for name, server in servers.items():
            cost = VICTIM_COST if name in chosen else None
            if server.deletion_cost != cost:
                await self._kube.annotate("Pod", cluster.namespace, name, {DELETION_COST_ANNOTATION: cost})
        log.info("removing", namespace=cluster.namespace, name=cluster.name, servers=list(chosen))

    async def _refresh_credentials(self, cluster: ChatCluster, observed: Observed, plan: _Plan) -> None:
        """Touch running chatservers after a new password, so that kubelet refreshes their mounted Secret at once."""
        if cluster.database.external_secret_name is not None:
            return
        wanted = plan.inputs.credentials.database_digest
        for server in observed.component("chatserver"):
            if not server.terminating and server.credentials_digest != wanted:
                await self._kube.annotate("Pod", cluster.namespace, server.name, {CREDENTIALS_HASH_ANNOTATION: wanted})

    async def _tidy_jobs(self, cluster: ChatCluster, observed: Observed, plan: _Plan) -> None:
        """Remove the migrate Jobs of earlier images, and a failed one after a while, so that it is tried again."""
        for (kind, name), child in observed.children.items():
            if kind != "Job" or child["metadata"]["labels"].get(COMPONENT_LABEL) != "migrate":
                continue
            stale = plan.migrated and name != plan.job_name
            if stale or (job_state(child) == "Failed" and self._failed_for(child) > MIGRATE_RETRY_SECONDS):
                await self._kube.delete("Job", cluster.namespace, name)
                log.info("deleted", namespace=cluster.namespace, name=cluster.name, kind="Job", child=name)

    def _failed_for(self, job: Manifest) -> float:
        """Seconds since a Job failed."""
        times = [c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] == "Failed"]
        return (self._now() - dt.datetime.fromisoformat(times[0])).total_seconds()

    # Report

    async def _facts(
        self,
        body: Manifest,
        observed: Observed,
        *,
        cluster: ChatCluster | None = None,
        plan: _Plan | None = None,
        state: _State | None = None,
        failure: KubeError | None = None,
        spec_error: str | None = None,
    ) -> status.Facts:
        metadata = body["metadata"]
        behind = plan is not None and plan.version != self._settings.version
        return status.Facts(
            name=metadata["name"],
            uid=metadata["uid"],
            cluster=cluster,
            observed=observed,
            answer=await self._ask(metadata["namespace"], metadata["name"], observed),
            decision=state.decision if state else None,
            migrate_job_name=plan.job_name if plan else None,
            migrated=plan.migrated if plan else False,
            external_secret_present=plan.external_secret_present if plan else None,
            tls_present=plan is None or plan.inputs.tls_digest is not None,
            spec_error=spec_error,
            failure=str(failure) if failure else None,
            upgrade=self._settings.version if behind else None,
        )

    async def _ask(self, namespace: str, name: str, observed: Observed) -> Answer:
        """Ask through the Service, and each proxy behind it: one that has found no server yet fails some clients."""
        service = observed.child("Service", part_name(name, "ingress"))
        address = service["spec"].get("clusterIP") if service else None
        if not address or address == "None":
            return Answer(ok=False, message="There is no ingress Service yet")
        authority = secret_text(observed.child("Secret", tls_secret_name(name)), "ca.crt")
        server_name = f"{part_name(name, 'ingress')}.{namespace}.svc"
        proxies = [
            Target(proxy.address, server_name, authority, HTTPS_PORT)
            for proxy in observed.component("ingress")
            if proxy.ready and not proxy.terminating and proxy.address
        ]
        targets = [Target(address, server_name, authority), *proxies]
        answers = await asyncio.gather(*(self._prober.ask(target) for target in targets))
        return next((answer for answer in answers if not answer.ok), answers[0])

    async def _report(
        self,
        body: Manifest,
        state: _State,
        observed: Observed,
        facts: status.Facts,
        cluster: ChatCluster | None,
        plan: _Plan | None,
    ) -> None:
        """One status patch if anything changed, Events for what turned."""
        metadata, held = body["metadata"], body.get("status") or {}
        now = self._now()
        made = status.merge(
            held.get("conditions") or [],
            status.conditions(facts),
            generation=metadata["generation"],
            now=_rfc3339(now),
        )
        live = observed.workload(facts.name, "chatserver")
        wanted: dict[str, Any] = {
            "observedGeneration": metadata["generation"],
            "conditions": made,
            "replicas": int(((live or {}).get("status") or {}).get("replicas") or 0),
            "readyReplicas": ready_replicas(live),
            "selector": selector_text(selector(facts.name, "chatserver")),
            "connections": sum(reading.connections for reading in state.readings.values() if reading),
        }
        if cluster is not None and plan is not None:
            wanted["url"] = status.url(
                cluster, observed.child("Service", part_name(facts.name, "ingress")), observed.component("ingress")
            )
            wanted["desiredReplicas"] = plan.inputs.replicas
            wanted["version"] = plan.version
            wanted["images"] = _images(plan)
        labels = {"namespace": metadata["namespace"], "name": facts.name}
        metrics.CONNECTIONS.labels(**labels).set(wanted["connections"])
        metrics.READY.labels(**labels).set(made[0]["status"] == "True")
        if "desiredReplicas" in wanted:
            metrics.DESIRED_REPLICAS.labels(**labels).set(wanted["desiredReplicas"])
        changed = {key: value for key, value in wanted.items() if held.get(key) != value}
        if not changed:
            return
        await self._kube.patch_status(metadata["namespace"], facts.name, changed)
        for condition in status.transitions(held.get("conditions") or [], made):
            log.info(
                "condition",
                namespace=metadata["namespace"],
                name=facts.name,
                type=condition["type"],
                status=condition["status"],
                reason=condition["reason"],
                message=condition["message"],
            )
            await self._kube.create_event(
                event(body, condition, pod_name=self._settings.pod_name, now=_rfc3339(now), suffix=secrets.token_hex(8))
            )


def _credentials(cluster: ChatCluster, observed: Observed) -> Credentials:
    """What the Secrets hold; what they lack is made new, which the database's next start then takes over."""
    password = secret_text(observed.child("Secret", database_secret_name(cluster.name)), "password")
    key = secret_text(observed.child("Secret", chatserver_secret_name(cluster.name)), "secret-key")
    return Credentials(
        database_password=password or secrets.token_urlsafe(SECRET_BYTES),
        chatserver_key=key or secrets.token_urlsafe(SECRET_BYTES),
    )


def _pair(secret: Manifest | None, certificate_key: str, private_key: str) -> Certificate | None:
    certificate, key = secret_text(secret, certificate_key), secret_text(secret, private_key)
    return Certificate(certificate, key) if certificate and key else None


def _tls_digest(secret: Manifest | None) -> str | None:
    """Changes with a user's certificate; None while it is incomplete."""
    pair = _pair(secret, "tls.crt", "tls.key")
    return digest(pair.certificate) if pair else None


def _https_port(cluster: ChatCluster, observed: Observed) -> int | None:
    if cluster.ingress.service.type == "NodePort" and cluster.ingress.service.node_port is not None:
        return cluster.ingress.service.node_port
    if cluster.ingress.service.type == "NodePort":
        return status.https_port(observed.child("Service", part_name(cluster.name, "ingress")))
    return 443


def _database_identity(external: str | None, external_secret: Manifest | None, claim: Manifest | None) -> str | None:
    """Changes when the database does, so that its schema is brought up to date again."""
    if external is not None:
        if external_secret is None or secret_text(external_secret, "dsn") is None:
            return None
        return f"external:{external_secret['metadata']['uid']}:{external_secret['metadata']['resourceVersion']}"
    return f"claim:{claim['metadata']['uid']}" if claim is not None else None


def _image_of(deployment: Manifest) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def _images(plan: _Plan) -> dict[str, str]:
    """What runs: the chatserver's image counts once its migrations have run."""
    template = plan.inputs.server_template
    return {
        "chatserver": template.image if template else plan.inputs.images.chatserver,
        "postgres": plan.inputs.images.postgres,
        "haproxy": plan.inputs.images.haproxy,
    }


def _connections(reading: Reading | None) -> int | None:
    return reading.connections if reading else None


def _server(server: Pod, readings: Mapping[str, Reading | None]) -> autoscaler.Server:
    return autoscaler.Server(
        name=server.name,
        started=server.started,
        terminating=server.terminating,
        connections=_connections(readings.get(server.name)),
    )


def _rfc3339(now: dt.datetime) -> str:
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
