// Messages that the server has not acknowledged, in the order of writing; kept across reloads of the page.
import { keys, read, remove, write } from "/storage.js";

const MAX_CHARACTERS = 65_536;  // docs/protocol.md, Limits
const encoder = new TextEncoder();

// Returns why a message can never be sent, or null. `limits` are those of the welcome, if there was one.
export function fault(text, limits) {
  const characters = [...text].length;
  if (characters > MAX_CHARACTERS) return `The message has ${characters} characters; ${MAX_CHARACTERS} are allowed. Shorten it.`;
  if (/\p{Surrogate}/u.test(text)) return "The message contains half of a character. Delete it and type it again.";
  const bytes = encoder.encode(JSON.stringify({ type: "send", id: newId(), to: "x".repeat(50), text })).length;
  if (limits?.max_frame_bytes < bytes) return `The message has ${bytes} bytes; the server takes ${limits.max_frame_bytes}. Shorten it.`;
  return null;
}

// crypto.randomUUID exists only on https and localhost.
function newId() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}

// An entry is {order, frame, error}: `error` says why the server rejected it permanently; it is not sent again.
export class Outbox {
  constructor(userId) {
    this.place = `outbox.${userId}.`;
    this.entries = keys(this.place).map(read).filter((entry) => entry?.frame).sort((a, b) => a.order - b.order);
  }

  // Returns whether the message survives a reload.
  add(target, text) {
    const order = (this.entries.at(-1)?.order ?? 0) + 1;
    const entry = { order, frame: { type: "send", id: newId(), ...target, text }, error: null };
    this.entries.push(entry);
    return this.save(entry);
  }

  save(entry) { return write(this.place + entry.frame.id, entry); }

  // The next entry to send: one at a time, to keep the order.
  head() { return this.entries.find((entry) => !entry.error); }

  get(id) { return this.entries.find((entry) => entry.frame.id === id); }

  of(target) {
    return this.entries.filter(({ frame }) => (target.chat_id ? frame.chat_id === target.chat_id : frame.to === target.to));
  }

  // Names with waiting messages whose chat is not known yet.
  recipients() { return new Set(this.entries.map(({ frame }) => frame.to).filter(Boolean)); }

  drop(entry) {
    this.entries = this.entries.filter((one) => one !== entry);
    remove(this.place + entry.frame.id);
  }

  fail(entry, error) { entry.error = error; this.save(entry); }

  again(entry) { entry.error = null; this.save(entry); }

  // The chat of a recipient is known: the name could belong to another user by the time the message is sent.
  address(to, chatId) {
    for (const entry of this.of({ to })) {
      delete entry.frame.to;
      entry.frame.chat_id = chatId;
      this.save(entry);
    }
  }
}
