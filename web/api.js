// The server's REST calls, nothing about the page.
const TIMEOUT_MS = 20_000;

export class Problem extends Error {
  constructor(status, body, retryAfterSeconds = 0) {
    super(body.detail || `The server answered ${status}`);
    Object.assign(this, { status, code: body.code, retryAfterSeconds });
  }
}

export class Api {
  // Without a token, the browser sends the session's cookie. Sessions of earlier pages have a token.
  constructor(token) { this.token = token; }

  async call(method, path, body) {
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    let answer, text;
    try {
      answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
      text = await answer.text();
    } catch { throw new Problem(0, { detail: "The server cannot be reached. What you write is kept, and sent later." }); }
    let content = null;
    try { content = text ? JSON.parse(text) : null; } catch { content = { detail: text.slice(0, 200) }; }
    if (!answer.ok) throw new Problem(answer.status, content || {}, Number(answer.headers.get("Retry-After")) || 0);
    return content;
  }
}
