// Server-sent events over `fetch`, because an `EventSource` cannot send a token as a header.
import { send } from './client.ts';

export interface SseEvent {
  event: string;
  data: string;
}

/** Takes text in pieces and returns the events that are complete. */
export class SseParser {
  private rest = '';

  push(text: string): SseEvent[] {
    const blocks = (this.rest + text).replaceAll('\r\n', '\n').split('\n\n');
    this.rest = blocks.pop() ?? '';
    return blocks.map(parseBlock).filter((event) => event !== null);
  }
}

function parseBlock(block: string): SseEvent | null {
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event = value;
    if (field === 'data') data.push(value);
  }
  return data.length ? { event, data: data.join('\n') } : null;
}

/** Reads a stream until it ends. `take` gets the complete events of each piece, possibly none. Throws if the connection or the request fails. */
export async function readEvents(path: string, signal: AbortSignal, take: (events: SseEvent[]) => void): Promise<void> {
  const response = await send('GET', path, undefined, signal);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new SseParser();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    take(parser.push(value));
  }
}
