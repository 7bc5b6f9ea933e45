// Small parts of which the screens are made.
import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import type { Problem } from '../api/client.ts';
import type { JobStatus, Shares } from '../api/types.ts';
import { clock, fullTime, percent, visible } from '../format.ts';
import { Icon, type IconName } from './icons.tsx';

export type Tone = 'ok' | 'info' | 'warn' | 'bad' | 'quiet';

const STATUS: Record<JobStatus, [Tone, IconName]> = {
  CREATED: ['info', 'clock'],
  RUNNING: ['ok', 'check'],
  FAILING: ['bad', 'alert'],
  RESTARTING: ['warn', 'clock'],
  SUSPENDED: ['warn', 'pause'],
  CANCELLING: ['warn', 'clock'],
  FINISHED: ['quiet', 'check'],
  CANCELED: ['quiet', 'cross'],
  FAILED: ['bad', 'alert'],
};

export const isEnded = (status: JobStatus) => status === 'FINISHED' || status === 'CANCELED' || status === 'FAILED';

export function Badge({ tone, icon, children }: { tone: Tone; icon?: IconName; children: ComponentChildren }) {
  return (
    <span class={`badge ${tone}`}>
      {icon && <Icon name={icon} size={12} />}
      {children}
    </span>
  );
}

export function StatusBadge({ status, restoring }: { status: JobStatus; restoring?: boolean }) {
  const [tone, icon] = STATUS[status] ?? ['quiet', 'dot'];
  return (
    <Badge tone={tone} icon={icon}>
      {status.charAt(0) + status.slice(1).toLowerCase()}
      {restoring && ', restoring'}
    </Badge>
  );
}

export function Time({ ms }: { ms: number | null | undefined }) {
  if (ms === null || ms === undefined) return <>–</>;
  return (
    <time dateTime={new Date(ms).toISOString()} title={fullTime(ms)}>
      {clock(ms)}
    </time>
  );
}

/** Text that a function or a record has chosen. It cannot turn the text around it, and characters without a shape are named. */
export function Foreign({ text, block }: { text: string; block?: boolean }) {
  const shown = visible(text);
  return block ? <pre class="foreign">{shown}</pre> : <bdi class="foreign">{shown}</bdi>;
}

/** The command that shows the same, with a button that copies it. */
export function Cli({ command }: { command: string }) {
  const copied = useSignal(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      copied.value = true;
      setTimeout(() => (copied.value = false), 1600);
    } catch {
      // The command stays selectable.
    }
  };
  return (
    <span class="cli">
      <code>{command}</code>
      <button type="button" class="plain" onClick={copy} aria-label={`Copy as CLI: ${command}`}>
        <Icon name={copied.value ? 'check' : 'copy'} size={14} />
        <span aria-live="polite">{copied.value ? 'Copied' : 'Copy'}</span>
      </button>
    </span>
  );
}

export function Empty({ title, children, command }: { title: string; children?: ComponentChildren; command?: string }) {
  return (
    <div class="empty">
      <p class="title">{title}</p>
      {children && <p class="text">{children}</p>}
      {command && <Cli command={command} />}
    </div>
  );
}

export function CodeLink({ code }: { code: string }) {
  return (
    <a class="code" href={`/docs/errors#${encodeURIComponent(code)}`}>
      {code}
    </a>
  );
}

export function ProblemNote({ problem }: { problem: Problem | null }) {
  if (!problem) return null;
  return (
    <div class="note bad" role="alert">
      <Icon name="alert" />
      <div>
        <p>
          <Foreign text={problem.message} /> {problem.status > 0 && <CodeLink code={problem.code} />}
        </p>
        {problem.hint && (
          <p class="muted">
            <Foreign text={problem.hint} />
          </p>
        )}
      </div>
    </div>
  );
}

export const SHARES: { key: keyof Shares; label: string; letter: string }[] = [
  { key: 'busy', label: 'busy', letter: 'b' },
  { key: 'backpressured', label: 'backpressured', letter: 'p' },
  { key: 'throttled', label: 'throttled', letter: 't' },
  { key: 'idle', label: 'idle', letter: 'i' },
];

export const sharesText = (shares: Shares | null) =>
  shares
    ? SHARES.filter(({ key }) => shares[key] >= 0.005 || key === 'busy')
        .map(({ key, label }) => `${label} ${percent(shares[key])}`)
        .join(', ')
    : 'not running';

/** Where the time goes, as a bar. A tick marks the busiest subtask. */
export function ShareBar({ shares, worst }: { shares: Shares | null; worst?: Shares | null }) {
  const text = sharesText(shares) + (worst && shares ? `; busiest subtask ${percent(worst.busy)}` : '');
  return (
    <div class="sharebar" role="img" aria-label={text} title={text}>
      {shares &&
        SHARES.map(({ key }) => <span key={key} class={key} style={{ width: `${shares[key] * 100}%` }} />)}
      {worst && shares && worst.busy - shares.busy > 0.02 && (
        <span class="tick" style={{ left: `${Math.min(worst.busy, 0.995) * 100}%` }} />
      )}
    </div>
  );
}

export function Legend() {
  return (
    <ul class="legend" aria-label="Shares of time">
      {SHARES.map(({ key, label }) => (
        <li key={key}>
          <span class={`swatch ${key}`} />
          {label}
        </li>
      ))}
    </ul>
  );
}

/** Pairs of a name and a value. Pairs without a value are left out. */
export function Facts({ facts }: { facts: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== null && value !== undefined && value !== '')
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
