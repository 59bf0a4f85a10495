/** Most tokens that may be drafted at once. */
export const DRAFT_TOKENS_MAX = 8;
/** The paper's lambda. */
export const DRAFT_TOKENS = 4;
