// The page: sign in, pick a chat, exchange messages. Server text only ever becomes textContent.
import { Api, Live } from "/api.js";

const $ = (selector) => document.querySelector(selector);
const KEY = "chatcluster.session";
const HISTORY = 100;
const SYNC_CHATS = 5000;     // the most that one sync may name

let session = JSON.parse(localStorage.getItem(KEY) || "null");
let api = new Api(session?.token);
let live = null;
let chats = new Map();      // chat_id -> chat as the server gave it
let rows = new Map();       // chat_id -> Map(seq -> row)
let open = null;            // chat_id on screen
let codeId = null;          // of this page's last request for a code, which the code is bound to
const outbox = new Map();   // client_id -> frame not yet acknowledged

const other = (chat) => chat.members.find((member) => member.user_id !== session.user.user_id) || chat.members[0];
// Somebody without a username is shown as their messages name them: by phone number.
const nameIn = (row) => row && (row.from_id === session.user.user_id ? row.to : row.from);
const title = (chat) => chat.group_name || other(chat)?.username || nameIn(chat.last_message) || "Chat";

function fail(view, error) {
  $(`#${view} .error`).textContent = error ? error.message : "";
}

function show() {
  $("#sign-in").hidden = Boolean(session);
  $("#chat").hidden = !session;
  if (!session) return;
  $("#me").textContent = session.user.username || session.user.phone_number;
  live = new Live(api, { onFrame, onState: (text) => { $("#state").textContent = text; }, onSignedOut: forget,
    hello: () => { refresh(live); return outbox.values(); } });
}

function forget() {
  live?.stop();
  localStorage.removeItem(KEY);
  session = null; api = new Api(); chats = new Map(); rows = new Map(); open = null; outbox.clear();
  $("#messages").replaceChildren(); $("#chats").replaceChildren(); $("#compose").hidden = true;
  $("#enter-code").hidden = true;
  show();
}

// --- sign in ---------------------------------------------------------------------------------------

$("#ask-code").addEventListener("submit", async (event) => {
  event.preventDefault();
  fail("sign-in");
  try {
    const phone_number = new FormData(event.target).get("phone_number").trim();
    const asked = await api.call("POST", "/api/auth/code", { phone_number });
    codeId = asked.code_id || null;
    askForCode(asked.dev_code);
  } catch (error) {
    fail("sign-in", error);
    // The number was just sent a code, before the page was loaded again perhaps: it can still be used.
    if (error.code === "rate_limited") askForCode();
  }
});

function askForCode(shown = "") {
  $("#enter-code").hidden = false;
  $("#development").hidden = !shown;
  $("#enter-code [name=code]").value = shown;
  $("#enter-code [name=code]").focus();
}

$("#enter-code").addEventListener("submit", async (event) => {
  event.preventDefault();
  fail("sign-in");
  const form = new FormData(event.target);
  const body = { phone_number: $("#ask-code [name=phone_number]").value.trim(), code: form.get("code"), device_name: "Web page" };
  if (codeId) body.code_id = codeId;
  if (form.get("username").trim()) body.username = form.get("username").trim();
  try {
    session = await api.call("POST", "/api/auth/session", body);
    localStorage.setItem(KEY, JSON.stringify(session));
    api = new Api(session.token);
    show();
  } catch (error) { fail("sign-in", error); }
});

$("#sign-out").addEventListener("click", async () => {
  try { await api.call("DELETE", "/api/auth/session"); } finally { forget(); }
});

// --- chats -----------------------------------------------------------------------------------------

async function loadChats() {
  let cursor = "";
  do {
    const answer = await api.call("GET", `/api/chats?limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    for (const chat of answer.chats) chats.set(chat.chat_id, chat);
    drawChats();
    cursor = answer.next_cursor;
  } while (cursor);
}

// After each welcome: REST tells where all chats stand, a sync from there brings what came meanwhile, and the chat on
// screen is fetched anew, so that it has no hole.
async function refresh(connection) {
  if (connection !== live || connection.stopped) return;
  try {
    await loadChats();
    live.send({ type: "sync", chats: Object.fromEntries([...chats.values()].slice(0, SYNC_CHATS).map((chat) => [chat.chat_id, chat.last_seq])) });
    if (open) await loadMessages(open);
    fail("chat");
  } catch (error) {
    fail("chat", error);
    setTimeout(() => refresh(connection), 3000);
  }
}

async function loadChat(chatId) {
  const chat = await api.call("GET", `/api/chats/${chatId}`);
  chats.set(chatId, chat);
  drawChats();
  return chat;
}

function drawChats() {
  const items = [...chats.values()].filter((chat) => chat.kind !== "self").map((chat) => {
    const button = document.createElement("button");
    button.setAttribute("aria-current", String(chat.chat_id === open));
    button.append(Object.assign(document.createElement("span"), { textContent: title(chat) }));
    if (chat.unread) button.append(Object.assign(document.createElement("mark"), { textContent: chat.unread }));
    button.append(Object.assign(document.createElement("small"), { textContent: chat.last_message?.text ?? "" }));
    button.addEventListener("click", () => openChat(chat.chat_id));
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  $("#chats").replaceChildren(...items);
}

async function openChat(chatId) {
  open = chatId;
  fail("chat");
  try {
    const chat = chats.get(chatId) ?? await loadChat(chatId);
    $("#title").textContent = title(chat);
    $("#compose").hidden = false;
    await loadMessages(chatId);
    if (open === chatId) $("#compose input").focus();
  } catch (error) { fail("chat", error); }
}

async function loadMessages(chatId) {
  const page = await api.call("GET", `/api/chats/${chatId}/messages?limit=${HISTORY}`);
  // In place of what was there: between it and the newest rows there may be a hole.
  const newer = [...(rows.get(chatId)?.values() ?? [])].filter((row) => row.seq > (page.at(-1)?.seq ?? 0));
  rows.delete(chatId);
  for (const row of [...page, ...newer]) keep(row);
  if (open !== chatId) return;
  drawMessages();
  markRead();
}

$("#new-chat").addEventListener("submit", (event) => {
  event.preventDefault();
  const to = new FormData(event.target).get("to").trim();
  event.target.reset();
  const known = [...chats.values()].find((chat) => chat.kind === "direct" && (other(chat)?.username?.toLowerCase() === to.toLowerCase() || title(chat) === to));
  if (known) { openChat(known.chat_id); return; }
  open = null;
  $("#title").textContent = to;
  $("#compose").hidden = false;
  $("#compose").dataset.to = to;
  drawMessages();
  $("#compose input").focus();
});

// --- messages --------------------------------------------------------------------------------------

function keep(row) {
  if (!rows.has(row.chat_id)) rows.set(row.chat_id, new Map());
  rows.get(row.chat_id).set(row.seq, row);
  if (row.from_id === session.user.user_id && row.client_id) settle(row.client_id, row.chat_id);
}

// A message is stored, and its chat known: what waits for the same person is repeated with the chat's id.
function settle(id, chatId) {
  const sent = outbox.get(id);
  if (!sent) return null;
  outbox.delete(id);
  const isOnScreen = open === null && sent.to && sent.to === $("#compose").dataset.to;
  for (const frame of outbox.values()) if (sent.to && frame.to === sent.to) { delete frame.to; frame.chat_id = chatId; }
  if (isOnScreen) openChat(chatId);
  return sent;
}

function ticks(chat, row) {
  const others = chat.members.filter((member) => member.user_id !== session.user.user_id);
  const least = (field) => Math.min(...others.map((member) => member[field] ?? 0), Infinity);
  if (row.seq <= least("read_seq")) return ["✓✓", "read"];
  if (row.seq <= least("delivered_seq")) return ["✓✓", "delivered"];
  return ["✓", "sent"];
}

function drawMessages() {
  const chat = chats.get(open);
  const list = [...(rows.get(open)?.values() ?? [])].sort((a, b) => a.seq - b.seq).map((row) => {
    const item = document.createElement("li");
    if (row.kind && row.kind !== "message") {
      item.className = "note";
      item.textContent = row.kind === "member" ? "The members changed" : "The chat changed";
      return item;
    }
    const own = row.from_id === session.user.user_id;
    item.className = own ? "own" : "";
    const who = chat?.kind === "group" && !own ? `${row.from}: ` : "";
    item.textContent = who + (row.text ?? "");
    const small = document.createElement("small");
    const at = row.timestamp ? new Date(row.timestamp * 1000) : new Date();
    small.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    if (own && chat) {
      const [mark, state] = ticks(chat, row);
      small.append(" ", Object.assign(document.createElement("span"), { textContent: mark, className: state, title: state }));
    }
    item.append(small);
    return item;
  });
  const to = $("#compose").dataset.to;
  for (const frame of outbox.values()) {
    if (open ? frame.chat_id !== open : !frame.to || frame.to !== to) continue;
    const item = Object.assign(document.createElement("li"), { className: "own", textContent: frame.text });
    const clock = Object.assign(document.createElement("span"), { textContent: "🕓", className: "pending", title: "not sent yet" });
    item.append(document.createElement("small"));
    item.lastChild.append(clock);
    list.push(item);
  }
  $("#messages").replaceChildren(...list);
  $("#messages").scrollTop = $("#messages").scrollHeight;
}

$("#compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = new FormData(event.target).get("text").trim();
  if (!text) return;
  event.target.reset();
  const id = crypto.randomUUID();
  const frame = { type: "send", id, ...(open ? { chat_id: open } : { to: event.target.dataset.to }), text };
  outbox.set(id, frame);
  live.send(frame);
  drawMessages();
});

function markRead() {
  const chat = chats.get(open);
  const last = Math.max(0, ...(rows.get(open)?.keys() ?? []));
  if (!chat || !last || document.hidden) return;
  live.send({ type: "read", chat_id: open, seq: last });
  chat.unread = 0;
  drawChats();
}
document.addEventListener("visibilitychange", markRead);

async function arrived(row) {
  keep(row);
  const chat = chats.get(row.chat_id) ?? await loadChat(row.chat_id);
  const fresh = row.seq > chat.last_seq;
  if (fresh) chat.last_seq = row.seq;
  const incoming = row.from_id !== session.user.user_id;
  if (fresh && (!row.kind || row.kind === "message")) chat.last_message = row;
  if (incoming) live.send({ type: "delivered", chat_id: row.chat_id, seq: row.seq });
  if (row.chat_id === open) { drawMessages(); if (incoming) markRead(); }
  else if (incoming && fresh && row.text) chat.unread = (chat.unread ?? 0) + 1;
  drawChats();
}

async function onFrame(frame) {
  try {
    switch (frame.type) {
      case "ack": {
        const sent = settle(frame.id, frame.chat_id);
        if (!sent) return;
        await arrived({ ...sent, ...frame, kind: "message", from_id: session.user.user_id, timestamp: Date.parse(frame.created_at) / 1000 });
        break;
      }
      case "message": await arrived(frame.message); break;
      case "event": await loadChat(frame.chat_id); await arrived(frame); break;
      case "receipt": {
        const member = chats.get(frame.chat_id)?.members.find((one) => one.user_id === frame.user_id);
        if (member) Object.assign(member, { delivered_seq: frame.delivered_seq, read_seq: frame.read_seq });
        if (frame.chat_id === open) drawMessages();
        break;
      }
      case "synced": if (frame.more) await refresh(live); break;
      case "error":
        if (frame.id && !["unavailable", "overloaded", "rate_limited"].includes(frame.code)) outbox.delete(frame.id);
        drawMessages();
        fail("chat", new Error(frame.detail || frame.code));
        break;
    }
  } catch (error) { fail("chat", error); }
}

// What the server was too busy for is offered again while the page is open.
setInterval(() => { for (const frame of outbox.values()) live?.send(frame); }, 5000);

show();
