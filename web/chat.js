// The chats of the signed-in user: the shown chat, messages to send, and changes by frames. The view draws them.
import { Api } from "/api.js";
import { Live } from "/live.js";
import { Outbox, fault } from "/outbox.js";
import { Rows } from "/rows.js";
import { keys, read, remove, write } from "/storage.js";

const HISTORY = 100;
const RETRY_SECONDS = 3;
const RETRYABLE = ["unavailable", "overloaded", "rate_limited"];
const draftKey = (target) => (target.chat_id ? `#${target.chat_id}` : `@${target.to}`);
const OWN_KINDS = ["hide", "block", "profile", "sign_in", "settings", "clear", "star", "privacy"];  // rows of the user's own chat

// on: `draw()`, `signedOut()`, `replaced()` by another connection of this device.
export class Chat {
  constructor(session, on) {
    this.user = session.user;
    this.api = new Api(session.token);
    this.on = on;
    this.chats = new Map();     // chat_id -> chat
    this.rows = new Rows();
    this.outbox = new Outbox(this.user.user_id);
    this.drafts = new Map(keys(this.draftPlace).map((key) => [key.slice(this.draftPlace.length), read(key)]));
    this.shown = null;          // {chat_id} or {to}: the target of a new message
    this.state = "connecting";
    this.problem = "";
    this.limits = null;         // limits in the last welcome
    this.epoch = null;
    this.sending = null;        // the outbox entry that waits for its acknowledgement
    this.pausedUntil = 0;
    this.turn = 0;              // number of the newest refresh, which cancels earlier ones
    this.loads = new Map();     // chat_id -> number of the newest load of its history
    this.live = new Live(this.api, {
      frame: (frame) => this.frame(frame), lost: (code) => this.lost(code), state: (text) => { this.state = text; on.draw(); },
      signedOut: on.signedOut, replaced: on.replaced,
    });
  }

  stop() { this.stopped = true; this.turn++; this.live.stop(); }

  say(problem) { this.problem = problem?.message ?? problem ?? ""; if (!this.stopped) this.on.draw(); }

  // --- what is on screen ---------------------------------------------------------------------------

  get draftPlace() { return `draft.${this.user.user_id}.`; }
  draft(target = this.shown) { return this.drafts.get(draftKey(target)) ?? ""; }

  keepDraft(text, target = this.shown) {
    const key = draftKey(target);
    if (text) { this.drafts.set(key, text); write(this.draftPlace + key, text); }
    else { this.drafts.delete(key); remove(this.draftPlace + key); }
  }

  // Names with messages or drafts whose chat is not known yet.
  recipients() {
    const drafts = [...this.drafts.keys()].filter((key) => key.startsWith("@")).map((key) => key.slice(1));
    return new Set([...this.outbox.recipients(), ...drafts]);
  }

  async show(target) {
    this.shown = target;
    this.say("");
    try {
      if (target.chat_id) await this.loadMessages(target.chat_id);
      else await this.find(target);
    } catch (error) { if (this.shown === target) this.say(error); }
  }

  // Looks the name up, and shows the existing chat with that user if there is one.
  async find(target) {
    const by = target.to.startsWith("+") ? "phone_number" : "username";
    const { user_id } = await this.api.call("GET", `/api/users?${by}=${encodeURIComponent(target.to)}`);
    const known = [...this.chats.values()].find((chat) => chat.kind === "direct" && user_id !== this.user.user_id && chat.members?.some((member) => member.user_id === user_id));
    if (known && !this.stopped) this.adopt(target.to, known.chat_id);
  }

  // The chat of a recipient is known: moves waiting messages and the draft to it.
  adopt(to, chatId) {
    this.outbox.address(to, chatId);
    const target = { chat_id: chatId };
    if (this.draft({ to })) this.keepDraft([this.draft(target), this.draft({ to })].filter(Boolean).join(" "), target);
    this.keepDraft("", { to });
    if (this.shown?.to === to) this.show(target);
    else this.on.draw();
  }

  // --- sending -------------------------------------------------------------------------------------

  // Returns whether the message was accepted; else `problem` says why not.
  write(text) {
    const why = fault(text, this.limits);
    if (why) { this.say(why); return false; }
    const saved = this.outbox.add(this.shown, text);
    this.keepDraft("");
    this.say(saved ? "" : "This browser keeps nothing: do not close the page before the message is sent.");
    this.pump();
    return true;
  }

  pump() {
    if (this.sending || this.stopped || !this.welcomed || performance.now() < this.pausedUntil) return;
    const entry = this.outbox.head();
    if (!entry) return;
    const why = fault(entry.frame.text, this.limits);
    if (why) { this.refuse(entry, why); return; }
    if (this.live.send(entry.frame)) this.sending = entry;
  }

  refuse(entry, why) {
    this.outbox.fail(entry, why);
    if (this.sending === entry) this.sending = null;
    this.on.draw();
    this.pump();
  }

  again(entry) { this.outbox.again(entry); this.on.draw(); this.pump(); }
  discard(entry) { this.outbox.drop(entry); this.on.draw(); }

  // The server has stored a message.
  stored(entry, chatId) {
    this.outbox.drop(entry);
    if (this.sending === entry) this.sending = null;
    this.problem = "";
    if (entry.frame.to) this.adopt(entry.frame.to, chatId);
    this.pump();
  }

  lost(code) {
    this.welcomed = false;
    this.turn++;
    const entry = this.sending;
    this.sending = null;
    if (code === 1009 && entry) this.refuse(entry, "The message is larger than the server takes. Shorten it.");
  }

  refused({ id, code, detail, retry_after_seconds }) {
    const again = RETRYABLE.includes(code);
    const wait = Math.max(0.5, retry_after_seconds || RETRY_SECONDS) * 1000;
    // The error for an unreadable frame has no id; only sends contain user input.
    const entry = id ? this.outbox.get(id) : ["bad_json", "bad_frame"].includes(code) && this.sending;
    if (entry && again) {
      this.sending = null;
      this.pausedUntil = performance.now() + wait;
      setTimeout(() => this.pump(), wait + 1);
    } else if (entry) {
      this.refuse(entry, detail || code);
    } else if (!id && again) {
      // The sync: without it, missed rows would not appear.
      const turn = this.turn;
      setTimeout(() => { if (turn === this.turn) this.sync(); }, wait);
    }
    if (!entry || again) this.say(detail || code);
  }

  // --- chats and history ---------------------------------------------------------------------------

  // A REST answer may be older than frames that arrived since the request.
  put(chat) {
    const known = this.chats.get(chat.chat_id);
    for (const member of chat.members ?? []) {
      const before = known?.members?.find((one) => one.user_id === member.user_id);
      for (const mark of ["delivered_seq", "read_seq"]) {
        // Null for members whom a block hides.
        if (member[mark] !== null) member[mark] = Math.max(member[mark] ?? 0, before?.[mark] ?? 0);
      }
    }
    if (known?.last_seq > chat.last_seq) Object.assign(chat, { last_seq: known.last_seq, last_at: known.last_at, last_message: known.last_message, unread: known.unread });
    this.chats.set(chat.chat_id, chat);
  }

  async loadChat(chatId) {
    this.put(await this.api.call("GET", `/api/chats/${chatId}`));
    if (!this.stopped) this.on.draw();
    return this.chats.get(chatId);
  }

  async loadMessages(chatId) {
    const load = (this.loads.get(chatId) ?? 0) + 1;
    this.loads.set(chatId, load);
    if (!this.chats.has(chatId)) await this.loadChat(chatId);
    const page = await this.api.call("GET", `/api/chats/${chatId}/messages?limit=${HISTORY}`);
    if (this.stopped || this.loads.get(chatId) !== load) return;
    this.rows.replace(chatId, page);
    for (const row of page) this.settle(row);
    this.on.draw();
    this.markRead();
  }

  // After each welcome: fetches the list of chats by REST, syncs from there to get newer rows, and fetches the shown chat
  // again, so that it has no gap.
  async refresh() {
    const turn = ++this.turn;
    try {
      let cursor = "";
      do {
        const answer = await this.api.call("GET", `/api/chats?limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
        if (turn !== this.turn) return;
        answer.chats.forEach((chat) => this.put(chat));
        this.on.draw();
        cursor = answer.next_cursor;
      } while (cursor);
      this.sync();
      this.rows.forgetAllBut(this.shown?.chat_id);
      if (this.shown?.chat_id) await this.loadMessages(this.shown.chat_id);
      if (turn === this.turn) this.say("");
    } catch (error) {
      if (turn !== this.turn) return;
      this.say(error);
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
      setTimeout(() => { if (turn === this.turn) this.refresh(); }, (error.retryAfterSeconds || RETRY_SECONDS) * 1000);
    }
  }

  sync() {
    const positions = [...this.chats.values()].map((chat) => [chat.chat_id, chat.last_seq]);
    // All chats, since a sync starts others from their beginning; the list was fetched after the welcome.
    if (positions.length <= (this.limits?.max_sync_chats ?? Infinity)) this.live.send({ type: "sync", chats: Object.fromEntries(positions) });
  }

  markRead() {
    const chat = this.chats.get(this.shown?.chat_id);
    const last = chat ? this.rows.last(chat.chat_id) : 0;
    if (!last || document.hidden || this.stopped) return;
    this.live.send({ type: "read", chat_id: chat.chat_id, seq: last });
    chat.unread = 0;
    this.on.draw();
  }

  // --- frames --------------------------------------------------------------------------------------

  settle(row) {
    const entry = row.from_id === this.user.user_id && row.client_id && this.outbox.get(row.client_id);
    if (entry) this.stored(entry, row.chat_id);
  }

  async take(row) {
    this.rows.keep(row);
    this.settle(row);
    if (OWN_KINDS.includes(row.kind)) {
      this.rows.change(row);
      this.on.draw();
      if (row.kind === "hide" || row.kind === "clear") await this.loadChat(row.target_chat_id);
      return;
    }
    const known = this.chats.get(row.chat_id);
    const chat = known ?? await this.loadChat(row.chat_id);
    const isMessage = !row.kind || row.kind === "message";
    const incoming = row.from_id !== this.user.user_id && row.by !== this.user.user_id;
    const isShown = row.chat_id === this.shown?.chat_id;
    const hole = row.seq > chat.last_seq + 1;
    if (row.seq > chat.last_seq) {
      chat.last_seq = row.seq;
      chat.last_at = row.created_at ?? row.at ?? chat.last_at;
      if (isMessage) chat.last_message = row;
      if (isMessage && incoming && !isShown) chat.unread = (chat.unread ?? 0) + 1;
    }
    if (incoming) this.live.send({ type: "delivered", chat_id: row.chat_id, seq: row.seq });
    this.on.draw();
    if (isShown && incoming) this.markRead();
    if (known && ["member", "group", "timer", "expire"].includes(row.kind)) await this.loadChat(row.chat_id);
    // A user who is added again missed the changes in between.
    const rejoined = row.kind === "member" && row.action === "added" && row.user_ids?.includes(this.user.user_id);
    if (rejoined) this.rows.byChat.delete(row.chat_id);
    if (isShown && (hole || rejoined)) await this.loadMessages(row.chat_id);
  }

  welcome(frame) {
    this.welcomed = true;
    this.limits = frame.limits ?? null;
    if (this.epoch && this.epoch !== frame.epoch) { this.chats.clear(); this.rows = new Rows(); }
    this.epoch = frame.epoch;
    this.refresh();
    this.pump();
  }

  async frame(frame) {
    try {
      switch (frame.type) {
        case "welcome": this.welcome(frame); break;
        case "ack": {
          const entry = this.outbox.get(frame.id);
          if (!entry) return;
          const timestamp = Date.parse(frame.created_at) / 1000;
          await this.take({ ...entry.frame, ...frame, kind: "message", client_id: frame.id, from_id: this.user.user_id, timestamp });
          break;
        }
        case "message": await this.take(frame.message); break;
        case "event": await this.take(frame); break;
        case "receipt": {
          const member = this.chats.get(frame.chat_id)?.members?.find((one) => one.user_id === frame.user_id);
          if (member) Object.assign(member, { delivered_seq: frame.delivered_seq, read_seq: frame.read_seq });
          this.on.draw();
          break;
        }
        case "profile": {
          for (const chat of this.chats.values()) {
            const member = chat.members?.find((one) => one.user_id === frame.user_id);
            if (member) member.username = frame.username;
          }
          this.on.draw();
          break;
        }
        case "synced": if (frame.more) await this.refresh(); break;
        case "error": this.refused(frame); break;
      }
    } catch (error) { this.say(error); }
  }
}
