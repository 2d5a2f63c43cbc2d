// Draws a Chat. Server text only ever becomes textContent.

const $ = (selector) => document.querySelector(selector);
const make = (tag, text = "", fields = {}) => Object.assign(document.createElement(tag), { textContent: text, ...fields });

const other = (chat, me) => chat.members?.find((member) => member.user_id !== me) ?? chat.members?.[0];
// Fields that the user may not see are null.
const name = (user) => user && (user.username ?? `User ${user.user_id}`);

// A user without a username is shown by phone number, like in their messages.
function title(chat, me) {
  const row = chat.last_message;
  const one = other(chat, me);
  const named = row && (row.from_id === me ? row.to : row.from);
  return chat.group_name ?? one?.username ?? named ?? name(one) ?? "Chat";
}

const PREVIEW_CHARACTERS = 100;
const content = (row) => (row.deleted_at ? "Message deleted" : row.text ?? (row.media_url ? `[${row.type}]` : ""));

function ticks(chat, row, me) {
  // Across a block the watermarks are null: unknown.
  const others = (chat.members ?? []).filter((member) => member.user_id !== me && member.read_seq !== null);
  if (!others.length && chat.members?.length > 1) return [row.status === "sent" ? "✓" : "✓✓", row.status ?? "sent"];
  const least = (field) => Math.min(...others.map((member) => member[field] ?? 0), Infinity);
  if (row.seq <= least("read_seq")) return ["✓✓", "read"];
  if (row.seq <= least("delivered_seq")) return ["✓✓", "delivered"];
  return ["✓", "sent"];
}

const entries = new Map();  // key of a list entry -> its element, which is reused, so that a press on it is not lost

function entry(key, model, target) {
  if (!entries.has(key)) {
    const item = make("li");
    item.append(make("button"));
    item.firstChild.append(make("span"), make("mark"), make("small"));
    entries.set(key, item);
  }
  const item = entries.get(key);
  item.firstChild.onclick = () => model.show(target);
  return item;
}

function fill(item, label, unread, preview, current) {
  const [span, mark, small] = item.firstChild.children;
  for (const [element, text] of [[span, label], [mark, String(unread || "")], [small, preview.slice(0, PREVIEW_CHARACTERS)]]) {
    if (element.textContent !== text) element.textContent = text;
  }
  mark.hidden = !unread;
  item.firstChild.setAttribute("aria-current", String(current));
  return item;
}

function drawList(model) {
  const me = model.user.user_id;
  const drafted = (target, preview) => { const draft = model.draft(target); return draft ? `Draft: ${draft}` : preview; };
  const strangers = [...model.recipients()].map((to) => fill(entry(`to ${to}`, model, { to }), to, 0, drafted({ to }, "not sent"), model.shown?.to === to));
  const known = [...model.chats.values()].filter((chat) => chat.kind !== "self").sort((a, b) => (b.last_at ?? "").localeCompare(a.last_at ?? "")).map((chat) => {
    const target = { chat_id: chat.chat_id };
    const row = model.rows.now(chat.last_message);
    const current = chat.chat_id === model.shown?.chat_id;
    return fill(entry(chat.chat_id, model, target), title(chat, me), chat.unread, current ? row ? content(row) : "" : drafted(target, row ? content(row) : ""), current);
  });
  const list = [...strangers, ...known];
  const drawn = $("#chats").children;
  if (list.length !== drawn.length || list.some((item, place) => item !== drawn[place])) $("#chats").replaceChildren(...list);
}

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function duration(seconds) {
  const [unit, length] = UNITS.find(([, size]) => seconds % size === 0);
  const count = seconds / length;
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function note(row) {
  if (row.kind === "member") return "The members changed";
  if (row.kind !== "timer") return "The chat changed";
  const { seconds } = row.detail ?? row;
  return seconds ? `Messages disappear after ${duration(seconds)}` : "Messages stay";
}

function message(model, chat, row) {
  if (row.kind && row.kind !== "message") return make("li", note(row), { className: "note" });
  const own = row.from_id === model.user.user_id;
  const item = make("li", "", { className: own ? "own" : "" });
  const quoted = row.reply_to && !row.deleted_at && model.rows.get(row.chat_id, row.reply_to);
  if (quoted) item.append(make("q", content(quoted).slice(0, PREVIEW_CHARACTERS)));
  const who = chat?.kind === "group" && !own ? `${row.from ?? `User ${row.from_id}`}: ` : "";
  item.append(who + content(row));
  if (row.deleted_at) item.classList.add("deleted");
  const at = row.timestamp ? new Date(row.timestamp * 1000) : new Date();
  const small = make("small", at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) + (row.edited_at && !row.deleted_at ? " edited" : ""));
  if (own && chat && !row.deleted_at) {
    const [mark, state] = ticks(chat, row, model.user.user_id);
    small.append(" ", make("span", mark, { className: state, title: state }));
  }
  item.append(small);
  return item;
}

function waiting(model, one) {
  const item = make("li", one.frame.text, { className: one.error ? "own failed" : "own" });
  const small = make("small", one.error ? `Not sent: ${one.error} ` : "");
  if (one.error) {
    small.append(make("button", "Try again", { onclick: () => model.again(one) }), " ", make("button", "Discard", { onclick: () => model.discard(one) }));
  } else {
    small.append(make("span", "🕓", { className: "pending", title: "not sent yet" }));
  }
  item.append(small);
  return item;
}

let drawn = null;  // the target whose draft is in the input

function drawConversation(model) {
  const { shown } = model;
  const chat = model.chats.get(shown?.chat_id);
  $("#title").textContent = !shown ? "Pick a chat, or start one" : shown.to ?? (chat ? title(chat, model.user.user_id) : "…");
  $("#compose").hidden = !shown || Boolean(chat?.left);
  const list = shown?.chat_id ? model.rows.shown(shown.chat_id).map((row) => message(model, chat, row)) : [];
  if (shown?.chat_id && !model.rows.has(shown.chat_id)) list.push(make("li", "Loading …", { className: "note" }));
  if (shown) list.push(...model.outbox.of(shown).map((one) => waiting(model, one)));
  const messages = $("#messages");
  const atEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 40;
  messages.replaceChildren(...list);
  if (atEnd || drawn !== shown) messages.scrollTop = messages.scrollHeight;
  if (drawn !== shown) {
    drawn = shown;
    const input = $("#compose input");
    const draft = shown ? model.draft() : "";
    // Not if the same conversation has become a chat: that would move the caret.
    if (input.value !== draft) input.value = draft;
    if (shown) input.focus();
  }
}

export function draw(model) {
  $("#me").textContent = model.user.username ?? model.user.phone_number ?? "";
  $("#state").textContent = model.state;
  $("#chat .error").textContent = model.problem;
  drawList(model);
  drawConversation(model);
}
