// The server's REST calls and its WebSocket, nothing about the page.

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `The server answered ${status}`);
    this.status = status;
    this.code = body.code;
  }
}

export class Api {
  constructor(token) { this.token = token; }

  async call(method, path, body) {
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    let content = null;
    try { content = text ? JSON.parse(text) : null; } catch { content = { detail: text.slice(0, 200) }; }
    if (!answer.ok) throw new Problem(answer.status, content || {});
    return content;
  }
}

const BACKOFF_MAX_MS = 20_000;

// A WebSocket that comes back: `onFrame` gets each frame, `hello()` the frames to send after each welcome.
export class Live {
  constructor(api, { onFrame, onState, onSignedOut, hello }) {
    Object.assign(this, { api, onFrame, onState, onSignedOut, hello, failures: 0, refused: false, stopped: false, socket: null });
    this.connect();
  }

  async connect() {
    if (this.stopped) return;
    this.onState("connecting");
    let ticket;
    try {
      ({ ticket } = await this.api.call("POST", "/api/ws-ticket"));
    } catch (problem) {
      if (problem.status === 401) return this.onSignedOut();
      return this.later();
    }
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/ws?ticket=${encodeURIComponent(ticket)}`, ["chat.v1"]);
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type === "welcome") {
        this.failures = 0;
        this.refused = false;
        this.onState(`on ${frame.server}`);
        for (const first of this.hello()) this.send(first);
      }
      if (frame.type === "reconnect") setTimeout(() => socket.close(), frame.after_ms);
      this.onFrame(frame);
    };
    socket.onclose = ({ code }) => {
      if (code === 4001) {
        // Once more with a new ticket: this one may only have become too old on its way.
        if (this.refused) return this.onSignedOut();
        this.refused = true;
        return this.connect();
      }
      if (code === 4003) return this.onState("refused: the server does not allow pages of this address");
      if (code === 4009) return this.onState("open in another window");
      if (code === 1012) this.failures = 0;
      this.later();
    };
  }

  later() {
    this.onState("reconnecting");
    const ceiling = Math.min(BACKOFF_MAX_MS, 500 * 2 ** this.failures++);
    setTimeout(() => this.connect(), Math.random() * ceiling);
  }

  send(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  stop() {
    this.stopped = true;
    if (this.socket) this.socket.onclose = null;
    this.socket?.close();
  }
}
