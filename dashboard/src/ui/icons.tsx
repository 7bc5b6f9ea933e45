// Small pictures. They repeat what the text beside them says, so they are hidden from assistive technology.
const PATHS = {
  alert: 'M8 2.2 14.3 13H1.7L8 2.2ZM8 6.3v3.2M8 11.4v.1',
  arrow: 'M2 8h11.5M9.5 4l4 4-4 4',
  check: 'M3 8.5 6.4 12 13 4.5',
  chevron: 'M6 3.5 10.5 8 6 12.5',
  clock: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM8 4.6V8l2.3 1.6',
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  cross: 'm4 4 8 8M12 4l-8 8',
  dot: 'M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Z',
  info: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM8 7.2v4M8 4.8v.1',
  moon: 'M13.2 9.8A5.7 5.7 0 0 1 6.2 2.8a5.7 5.7 0 1 0 7 7Z',
  operator: 'M8 1.8 14.2 8 8 14.2 1.8 8 8 1.8Z',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  sink: 'M2.5 9v4.5h11V9M8 2v8M5 7.2 8 10.2l3-3',
  source: 'M2.5 7V2.5h11V7M8 14V6M5 8.8 8 5.8l3 3',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1.1 1.1M11.9 11.9 13 13M13 3l-1.1 1.1M4.1 11.9 3 13',
  screen: 'M2 3h12v8.5H2zM5.5 14h5',
  user: 'M8 2.2a2.7 2.7 0 1 0 0 5.4 2.7 2.7 0 0 0 0-5.4ZM2.8 13.8c.5-2.6 2.5-4 5.2-4s4.7 1.4 5.2 4',
};

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
