// One tab of a browser is the active one: two would be one device connected twice, and the server closes the older (4009).
const LOCK = "chatcluster.active";
const GRACE_MS = 500;           // a page that is loaded again gets the lock when its last load has let go
const locks = navigator.locks;  // https and localhost alone; elsewhere 4009 tells

// on: `active()`, `passive()`.
export class Tab {
  constructor(on) {
    Object.assign(this, { on, holds: false, waits: true, turn: 0, letGo: () => {} });
    for (const event of ["focus", "visibilitychange"]) addEventListener(event, () => this.look());
    this.look();
  }

  // A passive tab that is looked at takes the place of one that was closed.
  look() { if (this.waits && !document.hidden) this.ask({ signal: AbortSignal.timeout(GRACE_MS) }); }

  takeOver() { this.ask({ steal: true }); }

  // This device has connected elsewhere: only the user takes it back.
  release() { this.waits = false; this.letGo(); this.holds = false; }

  ask(options) {
    if (this.holds) return;
    if (!locks) return this.hold();
    const turn = ++this.turn;  // of several requests the newest counts
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
