// The storage that oidc-provider asks for, in memory and without a limit on entries: its own in-memory storage evicts living
// tokens under load, which would look like grants dying by themselves.

const grantable = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode']);

export function memoryAdapter() {
  const rows = new Map(); // key -> { payload, expires_at (ms) }
  const grants = new Map(); // grant id -> set of keys
  const sessions = new Map(); // session uid -> session id

  const sweep = setInterval(() => {
    const now = Date.now();
    for (const [key, row] of rows) if (row.expires_at <= now) rows.delete(key);
  }, 5_000);
  sweep.unref();

  return class MemoryAdapter {
    constructor(model) {
      this.model = model;
    }

    key(id) {
      return `${this.model}:${id}`;
    }

    async upsert(id, payload, ttl_s) {
      const key = this.key(id);
      rows.set(key, { payload, expires_at: ttl_s ? Date.now() + ttl_s * 1_000 : Infinity });
      if (this.model === 'Session') sessions.set(payload.uid, id);
      if (grantable.has(this.model) && payload.grantId) {
        if (!grants.has(payload.grantId)) grants.set(payload.grantId, new Set());
        grants.get(payload.grantId).add(key);
      }
    }

    async find(id) {
      const row = rows.get(this.key(id));
      return row && row.expires_at > Date.now() ? row.payload : undefined;
    }

    async findByUid(uid) {
      return this.find(sessions.get(uid));
    }

    async findByUserCode() {
      return undefined;
    }

    async consume(id) {
      rows.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1_000);
    }

    async destroy(id) {
      rows.delete(this.key(id));
    }

    async revokeByGrantId(grant_id) {
      for (const key of grants.get(grant_id) ?? []) rows.delete(key);
      grants.delete(grant_id);
    }
  };
}
