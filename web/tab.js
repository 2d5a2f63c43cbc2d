// One tab of a browser is active: a second one would be the same device, and the server closes the older one (4009).
const LOCK = "chatcluster.active";
const GRACE_MS = 500;           // a reloaded page gets the lock once its previous load has released it
const locks = navigator.locks;  // only on https and localhost; elsewhere the close code 4009 replaces it

// on: `active()`, `passive()`.
export class Tab {
  constructor(on) {
    Object.assign(this, { on, holds: false, waits: true, turn: 0, letGo: () => {} });
    for (const event of ["focus", "visibilitychange"]) addEventListener(event, () => this.look());
    this.look();
  }

  // A passive tab that becomes visible replaces an active one that was closed.
  look() { if (this.waits && !document.hidden) this.acquire({ signal: AbortSignal.timeout(GRACE_MS) }); }

  takeOver() { this.acquire({ steal: true }); }

  // This device connected elsewhere: only the user can reactivate this tab.
  release() { this.waits = false; this.letGo(); this.holds = false; }

  acquire(options) {
    if (this.holds) return;
    if (!locks) return this.hold();
    const turn = ++this.turn;  // only the newest of several requests counts
    locks.request(LOCK, options, () => (turn === this.turn ? this.hold() : undefined)).catch(() => { if (turn === this.turn) this.wait(); });
  }

  hold() {
    this.holds = true;
    this.waits = false;
    this.on.active();
    return new Promise((resolve) => { this.letGo = resolve; });
  }

  wait() {
    this.holds = false;
    this.waits = true;
    this.on.passive();
  }
}
