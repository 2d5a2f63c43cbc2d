// A WebSocket that reconnects, by the rules of docs/protocol.md ("Connect, sync, reconnect").
const FIRST_MS = 250;
const MAX_MS = 20_000;
const STEADY_MS = 10_000;      // a connection that lasted this long after its welcome resets the back-off
const WAIT_MAX_SECONDS = 300;  // longest wait, even if a server requires more

const now = () => performance.now();

// on: `frame(frame)`, `state(text)`, `lost(code)` after each connection, `signedOut()`, `replaced()` by another connection.
export class Live {
  constructor(api, on) {
    Object.assign(this, { api, on, socket: null, welcomedAt: null, failures: 0, refused: false, stopped: false, ping: 0 });
    this.connect();
  }

  async connect() {
    if (this.stopped) return;
    this.on.state("connecting");
    let ticket;
    try {
      ({ ticket } = await this.api.call("POST", "/api/ws-ticket"));
    } catch (problem) {
      if (this.stopped) return;
      if (problem.status === 401) this.on.signedOut(); else this.later(problem.retryAfterSeconds);
      return;
    }
    if (this.stopped) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/ws?ticket=${encodeURIComponent(ticket)}`, ["chat.v1"]);
    this.socket = socket;
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onclose = ({ code }) => this.ended(code);
  }

  receive(data) {
    this.silent = false;
    let frame;
    try { frame = JSON.parse(data); } catch { return this.abandon(1002); }
    if (frame.type === "welcome") this.welcomed(frame);
    if (frame.type === "reconnect") {
      const socket = this.socket;
      setTimeout(() => { if (socket === this.socket) this.abandon(1000); }, frame.after_ms);
    }
    this.on.frame(frame);
  }

  welcomed(frame) {
    this.welcomedAt = now();
    this.refused = false;
    this.on.state(`on ${frame.server}`);
    // A half-open connection never closes: without an answer to a ping until the next one, it is abandoned.
    this.silent = false;
    this.ping = setInterval(() => {
      if (this.silent) return this.abandon(1006);
      this.silent = true;
      this.send({ type: "ping" });
    }, (frame.ping_seconds || 20) * 1000);
  }

  // Closes a connection without waiting for the other side.
  abandon(code) {
    const socket = this.socket;
    socket.onmessage = socket.onclose = null;
    socket.close();
    this.ended(code);
  }

  ended(code) {
    clearInterval(this.ping);
    this.socket = null;
    if (this.welcomedAt !== null && now() - this.welcomedAt >= STEADY_MS) this.failures = 0;
    this.welcomedAt = null;
    this.on.lost(code);
    if (this.stopped) return;
    if (code === 4003) return this.on.state("rejected: the server does not allow pages from this origin");
    if (code === 4009) return this.on.replaced();
    // After the first 4001, retry with a new ticket: the old one may have expired on its way.
    if (code === 4001 && this.refused) return this.on.signedOut();
    if (code === 4001) this.refused = true;
    this.later();
  }

  later(atLeastSeconds = 0) {
    this.on.state("reconnecting");
    const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(this.failures++, 16));
    setTimeout(() => this.connect(), Math.min(atLeastSeconds, WAIT_MAX_SECONDS) * 1000 + Math.random() * ceiling);
  }

  // Returns whether the frame was sent on a connection.
  send(frame) {
    if (this.stopped || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  stop() {
    this.stopped = true;
    if (this.socket) this.abandon(1000);
  }
}
