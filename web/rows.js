// Stores messages: rows by chat, and changes of them. It never returns the text of a deleted message.

const key = (chatId, seq) => `${chatId}/${seq}`;
const isMessage = (row) => !row.kind || row.kind === "message";

export class Rows {
  constructor() {
    this.byChat = new Map();   // chat_id -> Map(seq -> row)
    this.changes = new Map();  // key -> {deleted_at, edited_at, text, hidden}
    this.cleared = new Map();  // chat_id -> the last seq that the user has cleared
  }

  // The current version of a row, whenever it was fetched; null if it must not be shown.
  now(row) {
    if (row && row.seq <= (this.cleared.get(row.chat_id) ?? 0)) return null;
    const change = row && this.changes.get(key(row.chat_id, row.seq));
    if (!change) return row ?? null;
    if (change.hidden) return null;
    const deletedAt = change.deleted_at ?? row.deleted_at;
    if (deletedAt) return { ...row, text: null, deleted_at: deletedAt };
    if (change.edited_at > (row.edited_at ?? "")) return { ...row, text: change.text, edited_at: change.edited_at };
    return row;
  }

  keep(row) {
    if (!this.byChat.has(row.chat_id)) this.byChat.set(row.chat_id, new Map());
    // For a row that changes another one, only its position is kept.
    const shown = row.target_seq ? { chat_id: row.chat_id, seq: row.seq, kind: row.kind } : this.now(row);
    if (shown) this.byChat.get(row.chat_id).set(row.seq, shown);
    if (row.target_seq) this.change(row);
    if (row.kind === "expire") this.expire(row.chat_id, row.detail ?? row);
  }

  // Rows of the kinds `edit`, `delete`, and `hide` and `clear` of the user's own chat.
  change({ kind, chat_id, target_chat_id, target_seq, text, at, created_at }) {
    const when = at ?? created_at;
    if (kind === "delete") this.note(chat_id, target_seq, { deleted_at: when });
    if (kind === "edit" && !(this.changes.get(key(chat_id, target_seq))?.edited_at > when)) this.note(chat_id, target_seq, { text, edited_at: when });
    if (kind === "hide") this.note(target_chat_id, target_seq, { hidden: true });
    if (kind === "clear") this.clear(target_chat_id, target_seq);
  }

  clear(chatId, upToSeq) {
    this.cleared.set(chatId, Math.max(upToSeq, this.cleared.get(chatId) ?? 0));
    const rows = this.byChat.get(chatId);
    for (const seq of rows?.keys() ?? []) if (seq <= upToSeq) rows.delete(seq);
  }

  // Messages of the range have disappeared for everybody.
  expire(chatId, { from_seq, up_to_seq }) {
    const rows = this.byChat.get(chatId);
    for (const [seq, row] of rows ?? []) if (isMessage(row) && seq >= from_seq && seq <= up_to_seq) rows.delete(seq);
  }

  note(chatId, seq, change) {
    this.changes.set(key(chatId, seq), { ...this.changes.get(key(chatId, seq)), ...change });
    const rows = this.byChat.get(chatId);
    if (!rows?.has(seq)) return;
    const row = this.now(rows.get(seq));
    if (row) rows.set(seq, row); else rows.delete(seq);
  }

  // Replaces the rows by a page of the newest ones: between the two there may be a gap.
  replace(chatId, page) {
    const newer = [...(this.byChat.get(chatId)?.values() ?? [])].filter((row) => row.seq > (page.at(-1)?.seq ?? 0));
    this.byChat.delete(chatId);
    for (const row of [...page, ...newer]) this.keep(row);
  }

  get(chatId, seq) { return this.byChat.get(chatId)?.get(seq); }

  has(chatId) { return this.byChat.has(chatId); }

  last(chatId) { return Math.max(0, ...(this.byChat.get(chatId)?.keys() ?? [])); }

  // The rows that a chat shows, oldest first.
  shown(chatId) {
    return [...(this.byChat.get(chatId)?.values() ?? [])].sort((a, b) => a.seq - b.seq).filter((row) => isMessage(row) || row.kind === "member" || row.kind === "group" || row.kind === "timer");
  }

  // Chats that were not shown are fetched again: after a disconnect their deletions are unknown.
  forgetAllBut(chatId) {
    for (const known of this.byChat.keys()) if (known !== chatId) this.byChat.delete(known);
  }
}
