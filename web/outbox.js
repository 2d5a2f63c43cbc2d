// Messages that the server has not acknowledged: in the order in which they were written, over reloads of the page.
import { keys, read, remove, write } from "/storage.js";

const MAX_CHARACTERS = 65_536;  // docs/protocol.md, Limits
const encoder = new TextEncoder();

// Why a message can never be sent; null when it can. `limits` are the welcome's, where there was one.
export function fault(text, limits) {
  const characters = [...text].length;
  if (characters > MAX_CHARACTERS) return `The message has ${characters} characters; ${MAX_CHARACTERS} are allowed. Shorten it.`;
  if (/\p{Surrogate}/u.test(text)) return "The message contains half of a character. Delete it and type it again.";
  const bytes = encoder.encode(JSON.stringify({ type: "send", id: newId(), to: "x".repeat(50), text })).length;
  if (limits?.max_frame_bytes < bytes) return `The message has ${bytes} bytes; the server takes ${limits.max_frame_bytes}. Shorten it.`;
  return null;
}

// crypto.randomUUID is for https and localhost alone.
function newId() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}

// An entry is {order, frame, error}: `error` says why the server refused it for good, and keeps it from being sent again.
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

  // The next to send: one at a time, so that none overtakes another.
  head() { return this.entries.find((entry) => !entry.error); }

  get(id) { return this.entries.find((entry) => entry.frame.id === id); }

  of(target) {
    return this.entries.filter(({ frame }) => (target.chat_id ? frame.chat_id === target.chat_id : frame.to === target.to));
  }

  // Names of whom messages wait for whose chat is not known.
  recipients() { return new Set(this.entries.map(({ frame }) => frame.to).filter(Boolean)); }

  drop(entry) {
    this.entries = this.entries.filter((one) => one !== entry);
    remove(this.place + entry.frame.id);
  }

  fail(entry, error) { entry.error = error; this.save(entry); }

  again(entry) { entry.error = null; this.save(entry); }

  // The chat of a recipient is known: a name can pass to somebody else until the message is sent.
  address(to, chatId) {
    for (const entry of this.of({ to })) {
      delete entry.frame.to;
      entry.frame.chat_id = chatId;
      this.save(entry);
    }
  }
}
